//! The UNIX socket's place in the file system.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Who may connect: the owner and the group.
const MODE: u32 = 0o660;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("{path}: another afrd listens there already; stop it, or set api.socket to another path", path = path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path}: is there already and is no socket; remove it, or set api.socket to another path", path = path.display())]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path}: {call}: {source}", path = path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// What was tried.
        call: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A listening socket, whose file is removed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file: another process's is not removed.
    file: (u64, u64),
}

impl Socket {
    /// Listens at `path`. A socket at which nobody listens any more is replaced.
    ///
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |call| {
            let path = path.to_owned();
            move |source| SocketError::System { path, call, source }
        };
        make_way(path)?;
        // Under another name until its mode is right, so that there is no moment in which others could connect.
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        let listener = UnixListener::bind(&unfinished).map_err(failed("bind"))?;
        let placed = place(&unfinished, path);
        if placed.is_err() {
            // What is reported is why it could not be placed.
            let _ = fs::remove_file(&unfinished);
        }
        Ok(Self {
            listener,
            path: path.to_owned(),
            file: placed.map_err(failed("placing the socket"))?,
        })
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's, which may pass.
    pub async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        Ok(stream)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // At the end there is nobody to tell; a socket that stays is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn make_way(path: &Path) -> Result<(), SocketError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            let (path, call) = (path.to_owned(), "stat");
            return Err(SocketError::System { path, call, source });
        }
    };
    let path = path.to_owned();
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket { path });
    }
    match UnixStream::connect(&path) {
        Ok(_) => Err(SocketError::InUse { path }),
        // Nobody listens: the rename puts the new one in its place.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => {
            let call = "connect";
            Err(SocketError::System { path, call, source })
        }
    }
}

fn place(unfinished: &Path, path: &Path) -> io::Result<(u64, u64)> {
    fs::set_permissions(unfinished, fs::Permissions::from_mode(MODE))?;
    fs::rename(unfinished, path)?;
    identity(path)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
