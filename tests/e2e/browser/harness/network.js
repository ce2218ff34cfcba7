// Before anything else in the page: keeps its connections, for their statistics, and can make their channels lose all
// that is sent and all that arrives, as a network does that was cut.
(() => {
  const connections = [];
  let cut = false;

  class Connection extends RTCPeerConnection {
    constructor(...settings) {
      super(...settings);
      connections.push(this);
    }

    createDataChannel(...settings) {
      const channel = super.createDataChannel(...settings);
      const send = channel.send.bind(channel);
      channel.send = (message) => cut || send(message);
      // The first listener: none after it hears what the network lost.
      channel.addEventListener('message', (event) => cut && event.stopImmediatePropagation());
      return channel;
    }
  }
  window.RTCPeerConnection = Connection;

  /** The nominated pairs' candidate types and what the message channels carried, of connections that are up. */
  async function carried() {
    const up = connections.filter(({ connectionState }) => connectionState === 'connected');
    return Promise.all(
      up.map(async (connection) => {
        const stats = new Map(await connection.getStats());
        const all = [...stats.values()];
        const transport = all.find(({ type }) => type === 'transport');
        const pair = stats.get(transport?.selectedCandidatePairId);
        const messages = all.find(({ type, label }) => type === 'data-channel' && label === 'msg');
        return {
          local: stats.get(pair?.localCandidateId)?.candidateType,
          remote: stats.get(pair?.remoteCandidateId)?.candidateType,
          sent: messages?.messagesSent ?? 0,
          received: messages?.messagesReceived ?? 0,
        };
      }),
    );
  }

  window.network = { carried, cut: (on) => (cut = on) };
})();
