//! The folder with the server's databases: one file for each library, and a lock so that two servers never write one log.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made.
    #[error("cannot create the data folder {path}: {error}. Give one that can be written with --data-dir")]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It cannot be written.
    #[error(
        "the data folder {path} cannot be written: {error}. Free space or mend its permissions (this user must own it), or \
         give another with --data-dir"
    )]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Another server has it.
    #[error(
        "another sotto-server is using the data folder {path}: stop it first, or give this one its own with --data-dir"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error(
        "there is no server's data in {path}: start the server once, or give the folder that it runs with by --data-dir"
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// An open data folder.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held by a server for as long as it lives; administration works beside it.
    _lock: Option<File>,
}

impl DataDir {
    /// Creates it if it is missing, checks that it can be written, and locks out other servers.
    pub fn claim(path: &Path) -> Result<Self, DataDirError> {
        create(path).map_err(|error| DataDirError::Create { path: path.to_owned(), error })?;
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let not_writable = |error| DataDirError::NotWritable { path: path.clone(), error };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("server.lock"))
            .map_err(not_writable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { path }),
            Err(TryLockError::Error(error)) => return Err(not_writable(error)),
        }
        probe(&path).map_err(not_writable)?;
        Ok(Self { path, _lock: Some(lock) })
    }

    /// Opens one that a server has used before, for administration.
    pub fn existing(path: &Path) -> Result<Self, DataDirError> {
        let this = Self { path: path.to_owned(), _lock: None };
        if !this.signaling().is_file() {
            return Err(DataDirError::Empty { path: path.to_owned() });
        }
        Ok(this)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accounts, devices, invitations.
    pub fn signaling(&self) -> PathBuf {
        self.path.join("signaling.db")
    }

    /// The relay's log.
    pub fn relay(&self) -> PathBuf {
        self.path.join("relay.db")
    }
}

/// Whether a write to the folder becomes durable just now. Blocks on the disk.
pub fn probe(path: &Path) -> io::Result<()> {
    let file = path.join(".writable");
    // More than a block, or a file system that has none left would still take it into an inode.
    let written = File::create(&file).and_then(|mut probe| {
        probe.write_all(&[0; 8192])?;
        probe.sync_data()
    });
    let removed = std::fs::remove_file(&file);
    written.and(removed)
}

/// Only this user may look inside: the key that signs access tokens is kept there.
fn create(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
