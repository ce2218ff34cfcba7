-- Accounts, their devices, and who may see their presence. Times are milliseconds since 1970.

-- Keys of the server itself, made once.
CREATE TABLE secret (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- A deleted account's row stays, so that nobody can take its handle and pass for it.
CREATE TABLE account (
    id         BLOB PRIMARY KEY CHECK (length(id) = 32),
    handle     TEXT NOT NULL UNIQUE,
    state      TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled', 'deleted')),
    profile    TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    last_seen  INTEGER
) STRICT, WITHOUT ROWID;

-- The device list, entry by entry. The primary key is what makes an append a compare-and-swap.
CREATE TABLE device_entry (
    account    BLOB NOT NULL REFERENCES account (id),
    position   INTEGER NOT NULL,
    payload    BLOB NOT NULL,
    signature  BLOB NOT NULL,
    possession BLOB,
    PRIMARY KEY (account, position)
) STRICT, WITHOUT ROWID;

-- What follows from the device lists. A key belongs to one account for good, whatever becomes of the device.
CREATE TABLE device (
    id      BLOB PRIMARY KEY CHECK (length(id) = 16),
    account BLOB NOT NULL REFERENCES account (id),
    key     BLOB NOT NULL CHECK (length(key) = 32),
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX device_by_account ON device (account);

CREATE TABLE invite (
    code_hash  BLOB PRIMARY KEY,
    uses       INTEGER NOT NULL,
    used       INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Hashes of presence capabilities. Revoked ones stay a while, so that no holder of one can claim it as its own.
CREATE TABLE capability (
    hash    BLOB PRIMARY KEY,
    account BLOB NOT NULL REFERENCES account (id),
    live    INTEGER NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX capability_by_account ON capability (account);

-- Whom to cut off now. Written in the transaction that revokes, by whichever process does; read by running servers.
CREATE TABLE revocation (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL CHECK (kind IN ('device', 'account')),
    subject  BLOB NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

-- One row, written to find out whether the disk takes writes.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
