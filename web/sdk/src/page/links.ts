// RTCPeerConnections, which workers do not have: the page carries out what the core says about them.

import type { DeviceId } from '../types.js';
import type { Channel, LinkCommand, LinkEvent } from '../wire.js';

/** Handed to SCTP and not yet sent, on the message channel; the rest waits here, where probes pass it. */
const SEND_BUFFER = 256 * 1024;
const REFILL = 64 * 1024;
/** Bytes waiting here: a full window of the longest messages. The core keeps far below. */
const QUEUE = 1_024 * 65_535;
/** Above which the probe channel counts as busy; a late probe would only measure that. */
const PROBE_BACKLOG = 1_024;
/** Longest message that is taken in. */
const LONGEST = 65_535;

type Report = (event: LinkEvent) => void;

/** Every link of the page, by device and attempt. */
export class Links {
  readonly #links = new Map<string, Link>();
  readonly #report: (device: DeviceId, session: string, event: LinkEvent) => void;

  constructor(report: (device: DeviceId, session: string, event: LinkEvent) => void) {
    this.#report = report;
  }

  command(device: DeviceId, session: string, command: LinkCommand): void {
    const name = `${device} ${session}`;
    if (command.type === 'open') {
      this.#links.get(name)?.close();
      this.#links.set(name, new Link(command, (event) => this.#report(device, session, event)));
      return;
    }
    this.#links.get(name)?.command(command);
    if (command.type === 'close') this.#links.delete(name);
  }

  closeAll(): void {
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }
}

class Link {
  #report: Report;
  #connection: RTCPeerConnection | undefined;
  #channels: Partial<Record<Channel, RTCDataChannel>> = {};
  readonly #queue: Uint8Array<ArrayBuffer>[] = [];
  #queued = 0;
  /** Descriptions are made one after another. */
  #negotiation: Promise<void> = Promise.resolve();
  /** Local candidates that came before the description they belong to was reported. */
  #early: LinkEvent[] | undefined;
  #path: 'direct' | 'turn' | undefined;

  constructor(open: LinkCommand & { type: 'open' }, report: Report) {
    this.#report = report;
    try {
      const connection = connect(open.ice_servers);
      this.#connection = connection;
      this.#follow(connection);
      this.#channels = {
        msg: this.#channel(connection, 'msg', { id: open.msg_id }),
        probe: this.#channel(connection, 'probe', { id: open.probe_id, maxRetransmits: 0 }),
      };
    } catch (error) {
      // Later, as with every other answer: who opens it does not expect one yet.
      queueMicrotask(() => this.#fail(`no connection could be made in this browser: ${String(error)}`));
    }
  }

  command(command: LinkCommand): void {
    const connection = this.#connection;
    if (!connection) return;
    switch (command.type) {
      case 'offer':
        return this.#negotiate(() => this.#describe(connection, { iceRestart: command.restart }));
      case 'set_remote':
        return this.#negotiate(async () => {
          await connection.setRemoteDescription({ type: command.kind, sdp: command.sdp });
          if (command.kind === 'offer') await this.#describe(connection);
        });
      case 'candidate':
        return this.#negotiate(async () => {
          const { candidate, mid } = command;
          const media = mid === null ? { sdpMLineIndex: 0 } : { sdpMid: mid };
          // One that is of no use here costs the link nothing: others may do.
          await connection.addIceCandidate({ candidate, ...media }).catch(() => {});
        });
      case 'send':
        return command.channel === 'msg'
          ? this.#sendMessage(command.message)
          : this.#sendProbe(command.message);
      case 'close':
        return this.close();
    }
  }

  /** Nothing is reported any more. */
  close(): void {
    this.#report = () => {};
    this.#connection?.close();
    this.#connection = undefined;
    this.#queue.length = 0;
  }

  #fail(why: string): void {
    this.#report({ type: 'failed', why });
    this.close();
  }

  #negotiate(step: () => Promise<void>): void {
    this.#negotiation = this.#negotiation.then(step).catch((error) => {
      if (this.#connection) this.#fail(`a description was refused: ${String(error)}`);
    });
  }

  async #describe(connection: RTCPeerConnection, offer?: RTCOfferOptions): Promise<void> {
    this.#early = [];
    const made = offer ? await connection.createOffer(offer) : await connection.createAnswer();
    await connection.setLocalDescription(made);
    const sdp = connection.localDescription?.sdp ?? made.sdp ?? '';
    this.#report({ type: 'description', kind: offer ? 'offer' : 'answer', sdp });
    const early = this.#early;
    this.#early = undefined;
    for (const event of early) this.#report(event);
  }

  #follow(connection: RTCPeerConnection): void {
    connection.onicecandidate = ({ candidate }) => {
      // Some browsers say the end twice, first as an empty candidate.
      if (candidate?.candidate === '') return;
      const event: LinkEvent = candidate
        ? { type: 'candidate', candidate: candidate.candidate, mid: candidate.sdpMid }
        : { type: 'candidate', candidate: '', mid: null };
      if (this.#early) this.#early.push(event);
      else this.#report(event);
    };
    connection.onconnectionstatechange = () => {
      const state = connection.connectionState;
      if (state !== 'new') this.#report({ type: 'state', state });
      if (state !== 'connected') return;
      void this.#findPath(connection);
      // The selected pair may change while the state does not.
      const transport = connection.sctp?.transport.iceTransport;
      if (transport) transport.onselectedcandidatepairchange = () => void this.#findPath(connection);
    };
  }

  async #findPath(connection: RTCPeerConnection): Promise<void> {
    const path = pathOf(await connection.getStats());
    if (path === undefined || path === this.#path || this.#connection !== connection) return;
    this.#path = path;
    this.#report({ type: 'path', path });
  }

  #channel(connection: RTCPeerConnection, name: Channel, options: RTCDataChannelInit): RTCDataChannel {
    const channel = connection.createDataChannel(name, { ordered: false, negotiated: true, ...options });
    channel.binaryType = 'arraybuffer';
    channel.onopen = () => {
      this.#report({ type: 'open', channel: name });
      if (name === 'msg') this.#refill();
    };
    channel.onclose = () => this.#report({ type: 'state', state: 'closed' });
    channel.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
      if (!(data instanceof ArrayBuffer)) return;
      if (data.byteLength > LONGEST) return this.#fail('the peer sent a message longer than allowed');
      this.#report({ type: 'message', channel: name, message: new Uint8Array(data) });
    };
    if (name === 'msg') {
      channel.bufferedAmountLowThreshold = REFILL;
      channel.onbufferedamountlow = () => this.#refill();
    }
    return channel;
  }

  #sendMessage(message: Uint8Array<ArrayBuffer>): void {
    this.#queued += message.byteLength;
    if (this.#queued > QUEUE) return this.#fail('too many messages are waiting');
    this.#queue.push(message);
    this.#refill();
  }

  #refill(): void {
    const channel = this.#channels.msg;
    if (channel?.readyState !== 'open') return;
    let sent = 0;
    for (const message of this.#queue) {
      if (channel.bufferedAmount >= SEND_BUFFER) break;
      try {
        channel.send(message);
      } catch (error) {
        return this.#fail(`a message could not be sent: ${String(error)}`);
      }
      this.#queued -= message.byteLength;
      sent += 1;
    }
    this.#queue.splice(0, sent);
  }

  #sendProbe(message: Uint8Array<ArrayBuffer>): void {
    const channel = this.#channels.probe;
    if (channel?.readyState !== 'open') return;
    if (channel.bufferedAmount + message.byteLength > PROBE_BACKLOG) return;
    try {
      channel.send(message);
    } catch {
      // Lost, as probes may be.
    }
  }
}

/** A browser refuses a whole configuration for one server that it cannot use; a direct link needs none of them. */
function connect(urls: string[]): RTCPeerConnection {
  const attempt = (usable: string[]) =>
    new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers: usable.map((url) => ({ urls: url })) });
  try {
    return attempt(urls);
  } catch {
    return attempt(urls.filter((url) => /^stuns?:[^?]+$/.test(url)));
  }
}

/** How the selected candidate pair goes; nothing while none is known. */
export function pathOf(stats: RTCStatsReport): 'direct' | 'turn' | undefined {
  let selected: string | undefined;
  for (const report of stats.values()) {
    // Firefox marks the pair itself.
    if (report.type === 'transport') selected ??= report.selectedCandidatePairId;
    else if (report.type === 'candidate-pair' && report.selected) selected = report.id;
  }
  const pair = selected === undefined ? undefined : stats.get(selected);
  if (!pair) return undefined;
  const ends = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
  return ends.some((end) => end?.candidateType === 'relay') ? 'turn' : 'direct';
}
