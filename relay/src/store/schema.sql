-- The relay's log. Keys come first in every table, so that a conversation's rows lie together.

CREATE TABLE conv (
    id         BLOB PRIMARY KEY,
    log_epoch  INTEGER NOT NULL,
    head       INTEGER NOT NULL,
    membership INTEGER NOT NULL,           -- epoch
    floor      INTEGER NOT NULL DEFAULT 1, -- lowest position that has its body
    bytes      INTEGER NOT NULL DEFAULT 0  -- of all bodies
) WITHOUT ROWID;

CREATE TABLE entry (
    conv      BLOB NOT NULL REFERENCES conv (id),
    pos       INTEGER NOT NULL,
    device    BLOB,             -- author, seq and hash of a message; null for a membership change
    seq       INTEGER,
    hash      BLOB,
    body      BLOB NOT NULL,    -- empty below the floor
    logged_at INTEGER NOT NULL, -- milliseconds since 1970
    PRIMARY KEY (conv, pos)
) WITHOUT ROWID;

CREATE UNIQUE INDEX entry_message ON entry (conv, device, seq) WHERE seq IS NOT NULL;

CREATE TABLE sender (
    conv     BLOB NOT NULL REFERENCES conv (id),
    device   BLOB NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (conv, device)
) WITHOUT ROWID;

CREATE TABLE member (
    conv    BLOB NOT NULL REFERENCES conv (id),
    account BLOB NOT NULL,
    joined  INTEGER NOT NULL, -- position
    PRIMARY KEY (conv, account)
) WITHOUT ROWID;

CREATE INDEX member_account ON member (account, conv);

CREATE TABLE cursor (
    conv    BLOB NOT NULL REFERENCES conv (id),
    device  BLOB NOT NULL,
    account BLOB NOT NULL,
    pos     INTEGER NOT NULL,
    receipt BLOB,
    PRIMARY KEY (conv, device)
) WITHOUT ROWID;

CREATE TABLE bump (
    conv   BLOB NOT NULL REFERENCES conv (id),
    epoch  INTEGER NOT NULL,
    common INTEGER NOT NULL,
    PRIMARY KEY (conv, epoch)
) WITHOUT ROWID;
