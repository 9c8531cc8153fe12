//! Unpacks a frame while it is read. Whatever the frame holds, memory stays within a window, and no more bytes come out than
//! it announces, or than are allowed.

use std::io::{self, Read};

use sha2::{Digest, Sha256};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::damaged;
use super::frame;
use super::unpacked::Known;
use crate::snapshot::FileHash;

const CHUNK: usize = 128 << 10;

pub struct Decompressor<R> {
    source: R,
    decoder: Decoder<'static>,
    known: Known,
    /// How many bytes come out, if the frame tells, and how many may at most.
    announced: Option<u64>,
    most: u64,
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
    /// Reads the header, with which `start`, the first bytes of the file, begins. Fails as [`super::Unpacked::new`] does.
    pub fn new(start: Vec<u8>, source: R, known: Known) -> io::Result<Self> {
        let announced = frame::parse(&start).map_err(|fault| known.error(fault))?.content;
        let most = known.most(announced).map_err(|fault| known.error(fault))?;
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(frame::WINDOW_LOG))?;
        let end = start.len();
        let mut this = Self {
            source,
            decoder,
            known,
            announced,
            most,
            input: start,
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
    pub const fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// What was read, compressed as it is. It is all that is stored once the end was reached.
    pub fn stored(self) -> FileHash {
        FileHash { bytes: self.stored_bytes, sha256: hex::encode(self.stored_sha.finalize()) }
    }

    /// Reads more of the source, and returns whether there was more.
    fn fill(&mut self) -> io::Result<bool> {
        (self.next, self.end) = (0, 0);
        self.end = loop {
            match self.source.read(&mut self.input) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
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
        let hint = hint.map_err(unpackable)?;
        let written = output.pos();
        self.next += input.pos();
        self.given = self.given.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok((written, hint == 0))
    }

    /// Whether all came out that was announced, and nothing follows.
    fn check_end(&mut self) -> io::Result<()> {
        if let Some(announced) = self.announced.or(self.known.recorded).filter(|announced| *announced != self.given) {
            return Err(self.wrong_size(announced));
        }
        let mut rest = self.input.get(self.next..self.end).unwrap_or_default().to_vec();
        // As many as tell whether it is another frame.
        while rest.len() < frame::MAGIC.len() && self.fill()? {
            rest.extend_from_slice(self.input.get(..self.end).unwrap_or_default());
        }
        if rest.is_empty() { Ok(()) } else { Err(self.known.error(frame::behind(&rest))) }
    }

    fn check_given(&self) -> io::Result<()> {
        if self.given <= self.most {
            return Ok(());
        }
        Err(match self.announced.or(self.known.recorded) {
            Some(expected) => self.wrong_size(expected),
            None => self.known.error(frame::too_large(self.given, self.most)),
        })
    }

    fn wrong_size(&self, expected: u64) -> io::Error {
        let says = if self.announced.is_some() { "frame announces" } else { "record says" };
        damaged(format!("its {says} {expected} bytes, and {} have come out of it", self.given))
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
            self.check_given()?;
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

fn unpackable(error: io::Error) -> io::Error {
    // Such as its code 64: nothing is wrong with the bytes.
    if error.to_string().contains("not enough memory") {
        return io::Error::new(io::ErrorKind::OutOfMemory, error);
    }
    damaged(format!("it cannot be unpacked: {error}"))
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
