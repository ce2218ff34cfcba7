// What the SDK speaks of: the values, methods and notifications of docs/rpc.md, as types.

/** 2 to 32 of `a-z 0-9 . _ -`. Taken with or without `@` and in any case; given without `@`, in lower case. */
export type Handle = string;
/** 32 lower-case hex digits: `01…` a direct conversation, `02…` a group. */
export type ConversationId = string;
/** `conversation/device/seq`: the name of a message for good. */
export type MessageId = string;
/** 32 lower-case hex digits. */
export type DeviceId = string;
/** 64 lower-case hex digits. */
export type AccountId = string;
/** Milliseconds since 1970-01-01 UTC by the clock of whoever wrote it. Only a label: never sort by it. */
export type UnixMillis = number;

/** Who signed up in this profile. */
export interface Identity {
  account: AccountId;
  device: DeviceId;
  handle: Handle;
  /** The server's origin. */
  server: string;
}

/** A message as shown. */
export interface Message {
  conversation: ConversationId;
  id: MessageId;
  from: Handle;
  /** Treat a kind you do not know as `unreadable`. */
  kind: 'text' | 'renamed' | 'unreadable';
  /** Null unless `kind` is `text`. */
  text: string | null;
  /** The group's name from here on, if `kind` is `renamed`. */
  name?: string;
  sent_at: UnixMillis;
  /** This account wrote it, on this or another device. */
  own: boolean;
  /** The place in the relay's log, from 1; absent while the message is not in it. */
  position?: number;
  /** How far it got, if this device wrote it. */
  state?: MessageState;
  /** Counts, of more than one other member. */
  receipts?: ReceiptCounts;
  /** What cannot be had and would stand right before it. */
  missing?: Gap[];
}

/**
 * `waiting`: it is here only; `sent`: the relay has it, or a member; `delivered`, `read`: every other member has it, on a
 * device at least, or has read it.
 */
export type MessageState = 'waiting' | 'sent' | 'delivered' | 'read';

/** Of the other members, without who joined later. */
export interface ReceiptCounts {
  members: number;
  delivered: number;
  read: number;
}

/** Messages that cannot be had: two positions, or two ids of one device; both ends included. */
export interface Gap {
  from: number | MessageId;
  to: number | MessageId;
  why: string;
}

/** A conversation as listed. */
export interface Conversation {
  conversation: ConversationId;
  kind: 'direct' | 'group';
  /** Absent where there is none. */
  name?: string;
  /** The own handle included. */
  members: Handle[];
  /** It waits to be accepted; until then its members see neither deliveries nor presence. */
  request: boolean;
  blocked: boolean;
  /** The own account is still a member. */
  member: boolean;
  unread: number;
}

/** How a message got further: it, and all earlier ones of its author in the conversation. */
export interface Receipt {
  id: MessageId;
  /** The device that has it; of `logged`, the own one. */
  device: DeviceId;
  state: 'logged' | 'delivered' | 'read';
}

/** A change of the displayed list; to be applied in order. `after` null: the start of what is shown. */
export type TimelineDiff =
  | { op: 'insert'; item: Message; after: MessageId | null }
  | { op: 'move'; id: MessageId; after: MessageId | null; position?: number }
  | { op: 'replace'; item: Message }
  | { op: 'remove'; id: MessageId }
  /** Of all messages of this device in this range, both ends included; it stands for what they had. */
  | { op: 'state'; from: MessageId; to: MessageId; state: MessageState; receipts?: ReceiptCounts }
  | { op: 'missing'; id: MessageId; missing: Gap[] };

/** `direct`: from device to device; `turn`: through a TURN server; `relay`: no link, through the log; `none`: not at all. */
export type Path = 'direct' | 'turn' | 'relay' | 'none';

/** Which ways own messages take. See `path.policy` in docs/rpc.md. */
export type PathPolicy = 'auto' | 'hedge' | 'relay' | 'direct';

export interface Presence {
  handle: Handle;
  state: 'online' | 'away' | 'offline';
  text?: string;
  last_seen?: UnixMillis;
}

/** What an account says of itself. Others believe the handle, not this: show it wherever it matters. */
export interface Profile {
  handle: Handle;
  /** At most 64 characters, plain. */
  display_name?: string;
  /** A line, plain. */
  status_text?: string;
  /** PNG, JPEG or WebP of at most 24 KiB and 512 pixels a side, as unpadded base64url. */
  avatar?: string;
}

/** What becomes of the own profile: what is left out stays, null or an empty text takes it away. */
export type ProfileChange = { [K in 'display_name' | 'status_text' | 'avatar']?: string | null };

export interface LinkStatus {
  handle: Handle;
  device: DeviceId;
  path: Path;
  state: 'new' | 'probing' | 'valid' | 'suspect' | 'dead';
  rtt_ms: number | null;
  /** Why it is not better, for people. */
  why?: string;
}

export interface ConversationStatus {
  id: ConversationId;
  /** Everything of the relay's log up to this position is durable here. */
  head: number;
  log_epoch: unknown;
  last_seq: number;
  /** Own messages that neither the relay's log nor all other members' devices have. */
  unacked: number;
  /** Own messages that the relay's log does not have. */
  unlogged: number;
  undecryptable: number;
}

/** How things stand right now. */
export interface Status {
  account: AccountId;
  handle: Handle;
  device: DeviceId;
  server: { up: boolean; why?: string };
  relay: { up: boolean; why?: string };
  policy: PathPolicy;
  /** The own one, as it was last set. */
  presence: { state: 'online' | 'away'; text?: string };
  conversations: ConversationStatus[];
  links: LinkStatus[];
}

/** What this tab is among the tabs of a profile. One leads: it runs the peer; the others speak through it. */
export type TabState = 'leading' | 'following' | 'taking-over';

/** Notifications by name. */
export interface Events {
  /** A conversation appeared or changed. */
  conversation: Conversation;
  /** A message is shown for the first time, own ones too. */
  message: Message;
  receipt: Receipt;
  timeline: { conversation: ConversationId; diffs: TimelineDiff[] };
  presence: Presence;
  /** What an account says of itself changed, the own one's too. */
  profile: Profile;
  typing: { conversation: ConversationId; handle: Handle; on: boolean };
  /** A device is reached another way now. */
  path: { handle: Handle; device: DeviceId; path: Path; rtt_ms: number | null };
  /** Messages cannot be had. `missing` of a message says where they would stand. */
  gap: Gap & { conversation: ConversationId };
  /** An own message has another id now. */
  renumbered: { from: MessageId; to: MessageId };
  /** `server` (signaling) or `relay` is reached, or not. */
  connection: { socket: 'server' | 'relay'; up: boolean; why?: string };
  /** Something that a person should know. */
  alarm: { about: string; advice: string };
  /** Somebody signed up in this profile, in this tab or another. */
  identity: Identity;
  /**
   * This tab leads, follows, or another takes over. After `taking-over`, events may have been missed: when
   * `following` or `leading` comes, read `conversations()` and `history()` again.
   */
  tab: { state: TabState };
  /** The peer has ended for this page; nothing that was answered is lost. Open it again when the cause is gone. */
  ended: { kind: ErrorKind; why: string };
}

/** One notification, as `events()` gives them. */
export type SottoEvent = { [E in keyof Events]: { type: E; value: Events[E] } }[keyof Events];

/**
 * For programs; `message` is for people. Those of docs/rpc.md, and of the browser:
 *
 * - `unanswered`: the leading tab was lost before it answered; the command may have been carried out or not.
 * - `storage-full`, `storage-blocked` (another tab keeps an older version open), `storage-newer` (written by a newer
 *   version), `storage-closed` (cleared or closed under the page), `storage-refused` (the browser is set to store
 *   nothing of this site), `storage-failed`: the store cannot be used.
 * - `unsupported`: the browser lacks something that is needed; `message` says what.
 * - `lagging`: an iterator of `events()` was not read for too long.
 */
export type ErrorKind =
  | 'invalid-params'
  | 'method-not-found'
  | 'internal-error'
  | 'not-signed-up'
  | 'signed-up'
  | 'pending'
  | 'not-found'
  | 'not-a-member'
  | 'blocked'
  | 'offline'
  | 'refused'
  | 'outbox-full'
  | 'profile'
  | 'ended'
  | 'unanswered'
  | 'storage-full'
  | 'storage-blocked'
  | 'storage-newer'
  | 'storage-closed'
  | 'storage-refused'
  | 'storage-failed'
  | 'unsupported'
  | 'lagging';

/** The last argument of each method. */
export interface CallOptions {
  /** Gives up waiting, with the signal's reason. A command that is under way is still carried out. */
  signal?: AbortSignal;
}

export interface OpenOptions extends CallOptions {
  /** The server's origin. Default: the page's. Used at sign-up; a signed-up profile has its own. */
  server?: string;
  /** Name of the IndexedDB database: an account each. Default `sotto`. */
  profile?: string;
}

export interface SignUpOptions extends CallOptions {
  handle: string;
  /** An invitation code, if the server asks for one. */
  invite?: string;
  /** What the own other devices call this one. Default: the browser's name. */
  deviceName?: string;
}

export interface HistoryOptions {
  conversation: ConversationId;
  /** Only those displayed before this one: the latest such come. */
  before?: MessageId;
  /** Only those displayed after this one: the earliest such come, unless `before` is given too. */
  after?: MessageId;
  /** 1 to 5,000. */
  limit: number;
}
