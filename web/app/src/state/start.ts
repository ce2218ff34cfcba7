// Opens the peer and lets each part of the state listen to it.
import { listenToConnection, setSocket } from './connection.ts';
import { listenToConversations, loadConversations } from './conversations.ts';
import { listenToPeople, refreshStatus } from './people.ts';
import { listenToProfiles } from './profiles.ts';
import { open, peer } from './session.ts';
import { listenToTimelines, reloadTimelines } from './timeline.ts';

export function start(): Promise<void> {
  return open((sotto) => {
    listenToConversations(sotto);
    listenToTimelines(sotto);
    listenToPeople(sotto);
    listenToProfiles(sotto);
    listenToConnection(sotto, () => {
      void loadConversations();
      reloadTimelines();
    });
  }, begin);
}

async function begin() {
  await loadConversations();
  refreshStatus();
  const { server, relay } = await peer().status();
  setSocket('server', server.up, server.why);
  setSocket('relay', relay.up, relay.why);
}
