//! Unpacks a frame while it is read. Whatever the frame holds, memory stays within a window, and no more bytes come out than
//! it announces.

use std::io::{self, Read};

use sha2::{Digest, Sha256};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::damaged;
use super::frame::{self, Header};
use crate::snapshot::FileHash;

const CHUNK: usize = 128 << 10;

pub struct Decompressor<R> {
    source: R,
    decoder: Decoder<'static>,
    header: Header,
    /// What was read of the source, of which the bytes from `next` to `end` are still packed.
    input: Vec<u8>,
    next: usize,
    end: usize,
    /// The bytes that came out.
    given: u64,
    is_done: bool,
    stored_sha: Sha256,
    stored_bytes: u64,
}

impl<R: Read> Decompressor<R> {
    /// Reads the header. It fails with [`io::ErrorKind::InvalidData`] for whatever is wrong with the frame, as reading does.
    pub fn new(mut source: R) -> io::Result<Self> {
        let mut input = Vec::with_capacity(CHUNK);
        let longest = u64::try_from(frame::LONGEST).unwrap_or_default();
        source.by_ref().take(longest).read_to_end(&mut input)?;
        let header = frame::parse(&input).map_err(damaged)?;
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(frame::WINDOW_LOG))?;
        let end = input.len();
        let mut this = Self {
            source,
            decoder,
            header,
            input,
            next: 0,
            end,
            given: 0,
            is_done: false,
            stored_sha: Sha256::new(),
            stored_bytes: 0,
        };
        this.count_stored();
        this.input.resize(CHUNK, 0);
        Ok(this)
    }

    /// The bytes that its header announces.
    pub const fn announced(&self) -> u64 {
        self.header.content
    }

    /// What was read, compressed as it is. It is all that is stored once the end was reached.
    pub fn stored(self) -> FileHash {
        FileHash { bytes: self.stored_bytes, sha256: hex::encode(self.stored_sha.finalize()) }
    }

    /// Reads more of the source, and returns whether there was more.
    fn fill(&mut self) -> io::Result<bool> {
        (self.next, self.end) = (0, 0);
        self.end = self.source.read(&mut self.input)?;
        self.count_stored();
        Ok(self.end > 0)
    }

    fn count_stored(&mut self) {
        let new = self.input.get(..self.end).unwrap_or_default();
        self.stored_sha.update(new);
        self.stored_bytes = self.stored_bytes.saturating_add(len(new));
    }

    /// Unpacks what was read into `buffer`. Returns the number of bytes, and whether the frame is at its end.
    fn unpack(&mut self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut input = InBuffer::around(self.input.get(self.next..self.end).unwrap_or_default());
        let mut output = OutBuffer::around(buffer);
        let hint = self.decoder.run(&mut input, &mut output);
        let hint = hint.map_err(|error| damaged(format!("it cannot be unpacked: {error}")))?;
        let written = output.pos();
        self.next += input.pos();
        self.given = self.given.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok((written, hint == 0))
    }

    /// Whether all came out that was announced, and nothing follows.
    fn check_end(&mut self) -> io::Result<()> {
        self.check_given(|given, announced| given == announced)?;
        if self.next < self.end || self.fill()? {
            return Err(damaged("there are more bytes after the end of its frame"));
        }
        Ok(())
    }

    fn check_given(&self, is_right: fn(u64, u64) -> bool) -> io::Result<()> {
        let (given, announced) = (self.given, self.header.content);
        if is_right(given, announced) {
            return Ok(());
        }
        Err(damaged(format!("its frame announces {announced} bytes, and {given} have come out of it")))
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.is_done {
            return Ok(0);
        }
        loop {
            // Before more is read: what was read before may not all have fitted into the last buffer.
            let (written, at_end) = self.unpack(buffer)?;
            self.check_given(|given, announced| given <= announced)?;
            if at_end {
                self.check_end()?;
                self.is_done = true;
            }
            if written > 0 || at_end {
                return Ok(written);
            }
            if self.next == self.end && !self.fill()? {
                return Err(damaged("it ends in the midst of its frame"));
            }
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
