//! Why the server cannot start. What goes wrong later is an answer to a request.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file with the bearer token cannot be used.
    #[error("the token file {path:?} cannot be used: {reason}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder with data sets cannot be used.
    #[error("the data set file {path:?} cannot be used: {reason}")]
    Dataset {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The judge cannot be set up.
    #[error("the judge cannot be set up")]
    Judge(#[source] judge::JudgeError),
}
