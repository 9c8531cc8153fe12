//! Compresses bytes as they come, on a thread of its own, so that neither who sends them nor who proves them waits.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use sha2::{Digest, Sha256};

use crate::snapshot::FileHash;

/// How many bytes are handed to the thread at once, and how often before it has taken them.
const CHUNK: usize = 256 << 10;
const AHEAD: usize = 8;

/// Becomes one frame in a file. Dropped before [`Self::finish`], it waits for its thread, so that nothing more is written, and
/// what is in the file is no frame.
pub struct Compressor {
    chunk: Vec<u8>,
    to_thread: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<FileHash>>>,
}

impl Compressor {
    /// `content` is how many bytes will be given, which the frame's header announces.
    pub fn start(file: File, level: u8, content: u64) -> io::Result<Self> {
        let (to_thread, chunks) = sync_channel(AHEAD);
        let work = move || compress(&chunks, file, level, content);
        let thread = thread::Builder::new().name("zstd".to_owned()).spawn(work)?;
        Ok(Self { chunk: Vec::with_capacity(CHUNK), to_thread: Some(to_thread), thread: Some(thread) })
    }

    /// Takes the next bytes, split anywhere.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK {
                self.hand_over()?;
            }
        }
        Ok(())
    }

    /// Ends the frame, and tells what is in the file.
    pub fn finish(mut self) -> io::Result<FileHash> {
        self.hand_over()?;
        drop(self.to_thread.take());
        self.outcome()
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        let taken = self.to_thread.as_ref().is_some_and(|thread| thread.send(chunk).is_ok());
        // A thread that takes no more has failed, and says why.
        if taken { Ok(()) } else { self.outcome().and(Err(io::Error::other("the frame is at its end"))) }
    }

    fn outcome(&mut self) -> io::Result<FileHash> {
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_else(|| Err(io::Error::other("the thread that compresses has ended")))
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        drop(self.to_thread.take());
        let _ = self.outcome();
    }
}

fn compress(chunks: &Receiver<Vec<u8>>, file: File, level: u8, content: u64) -> io::Result<FileHash> {
    let hashed = Hashed { file, sha: Sha256::new(), bytes: 0 };
    let mut encoder = zstd::Encoder::new(hashed, level.into())?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(content))?;
    let mut given = 0_u64;
    for chunk in chunks {
        encoder.write_all(&chunk)?;
        given = given.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
    }
    // So a frame that was given up is never whole. zstd itself forgets what was announced if it was given nothing.
    if given != content {
        return Err(io::Error::other(format!("{given} bytes were given, {content} were announced")));
    }
    let Hashed { sha, bytes, .. } = encoder.finish()?;
    Ok(FileHash { bytes, sha256: hex::encode(sha.finalize()) })
}

/// What is written, hashed.
struct Hashed {
    file: File,
    sha: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.sha.update(buffer.get(..written).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(u64::try_from(written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
