//! A profile's folder: made for its owner only, and held by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::ProfileError;

/// A folder that this process holds; released when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    // The lock lives as long as the open file, whatever way the process ends.
    _lock: File,
}

impl Folder {
    /// Makes the folder if there is none, and takes it for this process.
    pub fn take(path: &Path) -> Result<Self, ProfileError> {
        let failed = |source| ProfileError::Folder { path: path.to_owned(), source };
        make(path).map_err(failed)?;
        let mut lock = private_file(&path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ProfileError::InUse { path: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Only for the message that a second process prints.
        lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder that only its owner may read; made empty if there is none.
    pub fn private_file(&self, name: &str) -> Result<PathBuf, ProfileError> {
        let path = self.path.join(name);
        match private_file(&path) {
            Ok(_) => Ok(path),
            Err(source) => Err(ProfileError::Folder { path: self.path.clone(), source }),
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
