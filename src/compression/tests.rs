//! Frames that are good, and frames that are cut, altered, or lie.

use std::fs::File;
use std::io::{self, Read};

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use zstd::stream::raw::CParameter;

use super::{Compressor, Known, Unpacked};
use crate::backup::name::Compression;
use crate::snapshot::FileHash;

/// Bytes that compress a little.
fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"0123456789abcdef"[usize::from(state.to_be_bytes()[0]) % 16]
    };
    (0..len).map(next).collect()
}

fn frame_with(content: &[u8], announced: Option<u64>, checksum: bool, more: &[CParameter]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(checksum).unwrap();
    encoder.set_pledged_src_size(announced).unwrap();
    for parameter in more {
        encoder.set_parameter(*parameter).unwrap();
    }
    io::Write::write_all(&mut encoder, content).unwrap();
    encoder.finish().unwrap()
}

fn frame(content: &[u8]) -> Vec<u8> {
    frame_with(content, Some(len(content)), true, &[])
}

fn len(bytes: &[u8]) -> u64 {
    bytes.len().try_into().unwrap()
}

/// Gives so many bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

/// What is known of a compressed backup that has no record.
fn known(stored: &[u8]) -> Known {
    Known { compression: Some(Compression::Zstd), stored: Some(len(stored)), recorded: None }
}

/// Reads all in pieces of `piece` bytes. What came out before an error is never more than was announced.
fn unpack(stored: &[u8], piece: usize) -> Result<(Vec<u8>, FileHash), String> {
    unpack_known(stored, piece, known(stored)).map_err(|(kind, why)| {
        assert_eq!(kind, io::ErrorKind::InvalidData, "{why}");
        why
    })
}

/// Why a frame that may be sound is not read.
fn other_shape(stored: &[u8]) -> String {
    let recorded = Known { recorded: Some(1000), ..known(stored) };
    let (kind, _) = unpack_known(stored, 100, recorded).unwrap_err();
    assert_eq!(kind, io::ErrorKind::InvalidData, "with a record it is damage");
    let (kind, why) = unpack_known(stored, 100, known(stored)).unwrap_err();
    assert_eq!(kind, io::ErrorKind::Unsupported, "{why}");
    why
}

fn unpack_known(stored: &[u8], piece: usize, known: Known) -> Result<(Vec<u8>, FileHash), (io::ErrorKind, String)> {
    let text = |error: io::Error| (error.kind(), error.to_string());
    let mut content = Unpacked::new(Slow(stored, piece), known).map_err(text)?;
    let announced = content.announced().unwrap_or(u64::MAX);
    let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
    loop {
        let read = content.read(&mut buffer).map_err(text)?;
        all.extend_from_slice(&buffer[..read]);
        assert!(len(&all) <= announced, "more than {announced}");
        if read == 0 {
            assert_eq!(content.read(&mut buffer).unwrap(), 0);
            return Ok((all, content.stored().unwrap()));
        }
    }
}

#[test]
fn what_was_packed_comes_out_and_what_is_stored_is_hashed() {
    for size in [0, 1, 255, 256, 70_000, 3_000_000] {
        let plain = bytes(size);
        let stored = frame(&plain);
        let hash = FileHash { bytes: len(&stored), sha256: hex::encode(Sha256::digest(&stored)) };
        for piece in [7, 1000, 1 << 20] {
            assert_eq!(unpack(&stored, piece), Ok((plain.clone(), hash.clone())), "{size} {piece}");
        }
    }
}

#[test]
fn a_frame_that_is_cut_is_damaged_wherever_it_is_cut() {
    let stored = frame(&bytes(1000));
    for at in 0..stored.len() {
        let error = unpack(&stored[..at], 100).unwrap_err();
        let words = ["in the midst of its frame", "no zstd frame", "it is empty"];
        assert!(words.iter().any(|words| error.contains(words)), "{at}: {error}");
    }
}

#[test]
fn a_frame_that_is_altered_is_damaged_wherever_it_is_altered() {
    let plain = bytes(2000);
    let stored = frame(&plain);
    let mut unnoticed = 0;
    for at in 0..stored.len() {
        for bit in 0..8 {
            let mut altered = stored.clone();
            altered[at] ^= 1 << bit;
            // The format has bits that nothing depends on, or by which the frame has no checksum, or another shape. The hash of
            // what is stored differs all the same.
            match unpack_known(&altered, 512, known(&altered)) {
                Ok((out, hash)) => {
                    let is_same = hash.sha256 == hex::encode(Sha256::digest(&stored));
                    assert!(out == plain && !is_same, "byte {at}, bit {bit}");
                    unnoticed += 1;
                }
                Err((io::ErrorKind::InvalidData, _)) => {}
                Err((kind, why)) => assert!(kind == io::ErrorKind::Unsupported && at < 10, "byte {at}: {why}"),
            }
        }
    }
    assert!(unnoticed < 8, "{unnoticed}");
}

#[test]
fn nothing_may_follow_the_frame() {
    let stored = frame(&bytes(5000));
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
    for piece in [1, 100, 1 << 20] {
        let error = unpack(&[&stored[..], b"\0"].concat(), piece).unwrap_err();
        assert_eq!(error, "there are more bytes after the end of its frame");
        let error = unpack(&[&stored[..], &stored[..3]].concat(), piece).unwrap_err();
        assert_eq!(error, "there are more bytes after the end of its frame");
        for after in [&stored[..], &skipped] {
            let (kind, why) = unpack_known(&[&stored, after].concat(), piece, known(&stored)).unwrap_err();
            assert!(kind == io::ErrorKind::Unsupported && why.contains("more than one frame"), "{why}");
        }
    }
    for several in [[&stored, &skipped[..]].concat(), [&skipped, &stored[..]].concat()] {
        assert!(other_shape(&several).ends_with("; unpack it with `zstd -d` and use the file"));
    }
}

#[test]
fn a_frame_that_lies_about_its_size_is_damaged_and_gives_no_more_than_it_announces() {
    let plain = bytes(300_000);
    let good = frame(&plain);
    // Magic number, descriptor, window, and the size in four bytes.
    assert_eq!(good[4], 0b1010_0100, "the test knows where the size is");
    for size in [0_u32, 1, 299_999, 300_001, 8 << 20] {
        let mut lying = good.clone();
        lying[5..9].copy_from_slice(&size.to_le_bytes());
        assert!(unpack(&lying, 4096).is_err(), "{size}");
    }
}

#[test]
fn the_size_and_the_checksum_may_be_left_out() {
    let plain = bytes(300_000);
    for (announced, checksum) in [(None, true), (Some(300_000), false), (None, false)] {
        let stored = frame_with(&plain, announced, checksum, &[]);
        let mut content = Unpacked::new(&stored[..], known(&stored)).unwrap();
        assert_eq!(content.announced(), announced);
        let mut out = Vec::new();
        content.read_to_end(&mut out).unwrap();
        assert!(out == plain && content.stored().unwrap().bytes == len(&stored));
        assert!(unpack(&stored[..stored.len() - 5], 4096).unwrap_err().contains("midst of its frame"));
        // Only the record tells how many there have to be.
        for recorded in [299_999, 300_001] {
            let known = Known { recorded: Some(recorded), ..known(&stored) };
            let (kind, why) = unpack_known(&stored, 4096, known).unwrap_err();
            assert!(kind == io::ErrorKind::InvalidData && why.contains("its record says"), "{why}");
        }
    }
}

#[test]
fn no_more_is_announced_than_can_come_out() {
    // Magic number, descriptor, window, and the size in eight bytes.
    let announcing = |size: u64, stored: u64| {
        let header = [&super::frame::MAGIC[..], &[0b1100_0100, 0x58], &size.to_le_bytes(), &[0; 20]].concat();
        let known = Known { compression: Some(Compression::Zstd), stored: Some(stored), recorded: None };
        Unpacked::new(&header[..], known).map(|content| content.announced()).map_err(|e| (e.kind(), e.to_string()))
    };
    assert_eq!(announcing(100 << 15, 100), Ok(Some(100 << 15)));
    let (kind, why) = announcing((100 << 15) + 1, 100).unwrap_err();
    assert!(kind == io::ErrorKind::InvalidData && why.contains("no more than 3276800 can come out of it"), "{why}");
    assert_eq!(announcing(64 << 30, 1 << 30), Ok(Some(64 << 30)));
    let (kind, why) = announcing((64 << 30) + 1, 1 << 30).unwrap_err();
    assert!(kind == io::ErrorKind::Unsupported && why.contains("the limit is 68719476736"), "{why}");
}

#[test]
fn a_bomb_needs_no_more_memory_than_a_window() {
    // 64 MiB of zeros in a few kilobytes, once with a window of 64 MiB.
    let zeros = vec![0; 64 << 20];
    let large = [CParameter::WindowLog(26), CParameter::EnableLongDistanceMatching(true)];
    let error = other_shape(&frame_with(&zeros, Some(len(&zeros)), true, &large));
    assert!(error.contains("needs a window of 67108864 bytes"), "{error}");
    let (out, stored) = unpack(&frame(&zeros), 1 << 20).unwrap();
    assert!(out == zeros && stored.bytes < 64 << 10, "{}", stored.bytes);
}

#[test]
fn what_is_not_compressed_passes() {
    for plain in [bytes(3), bytes(5000)] {
        let mut out = Vec::new();
        let mut content = Unpacked::new(&plain[..], Known::default()).unwrap();
        content.read_to_end(&mut out).unwrap();
        assert_eq!((out, content.announced(), content.stored()), (plain, None, None));
    }
}

#[test]
fn a_name_that_does_not_fit_is_no_damage() {
    let refused = |bytes: &[u8], known: Known| {
        let error = Unpacked::new(bytes, known).map(|_| ()).unwrap_err();
        (error.kind(), error.to_string())
    };
    let stored = frame(&bytes(1000));
    let (kind, why) = refused(&stored, Known::default());
    assert!(kind == io::ErrorKind::Unsupported && why.contains("although its name does not say so"), "{why}");
    let page = [&[0; 16][..], &0xed0c_daed_u32.to_le_bytes(), &[0; 500]].concat();
    let (kind, why) = refused(&page, known(&page));
    assert!(kind == io::ErrorKind::Unsupported && why.contains("it is not compressed, although its name"), "{why}");
    let (kind, _) = refused(&page, Known { recorded: Some(1), ..known(&page) });
    assert_eq!(kind, io::ErrorKind::InvalidData);
}

/// Gives `given` bytes to a compressor that was told of so many.
fn compress(file: File, level: u8, announced: u64, given: &[u8]) -> io::Result<FileHash> {
    let mut compressor = Compressor::start(file, level, announced)?;
    for piece in given.chunks(32 << 10) {
        compressor.push(piece)?;
    }
    compressor.finish()
}

#[test]
fn each_level_writes_one_frame_with_its_size_and_checksum() {
    for (level, size) in [(1, 0), (1, 1), (3, 300_000), (9, 5_000_000)] {
        let (plain, file) = (bytes(size), tempfile::NamedTempFile::new().unwrap());
        let hash = compress(file.reopen().unwrap(), level, len(&plain), &plain).unwrap();
        let stored = std::fs::read(file.path()).unwrap();
        assert_eq!(hash, FileHash { bytes: len(&stored), sha256: hex::encode(Sha256::digest(&stored)) });
        assert_eq!(Unpacked::new(&stored[..], known(&stored)).unwrap().announced(), Some(len(&plain)));
        assert_eq!(stored[4] & 0b100, 0b100, "the descriptor's flag of a checksum");
        assert_eq!(unpack(&stored, 10_000), Ok((plain, hash)));
    }
}

#[test]
fn a_frame_that_got_other_bytes_than_it_announced_is_never_whole() {
    for (announced, given) in [(10, 9), (10, 11), (1 << 20, 0), (1, 3 << 20)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(compress(file.reopen().unwrap(), 3, announced, &bytes(given)).is_err(), "{announced} {given}");
        assert!(unpack(&std::fs::read(file.path()).unwrap(), 100).is_err());
    }
}

/// A file that is a pipe: its end comes when the thread that writes into it has ended.
fn pipe() -> (io::PipeReader, File) {
    let (reader, writer) = io::pipe().unwrap();
    (reader, File::from(std::os::fd::OwnedFd::from(writer)))
}

#[test]
fn the_thread_ends_before_its_owner() {
    let (mut reader, writer) = pipe();
    let mut compressor = Compressor::start(writer, 3, 10 << 20).unwrap();
    compressor.push(&bytes(1 << 20)).unwrap();
    // Who takes nothing holds up the thread, and it its owner.
    let dropping = std::thread::spawn(move || drop(compressor));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!dropping.is_finished());
    let mut written = Vec::new();
    reader.read_to_end(&mut written).unwrap();
    dropping.join().unwrap();
    assert!(unpack(&written, 100).is_err());
}

#[test]
fn a_file_that_takes_nothing_is_an_error_and_no_wait() {
    let (reader, writer) = pipe();
    drop(reader);
    let error = compress(writer, 1, 64 << 20, &bytes(64 << 20)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

proptest! {
    #[test]
    fn whatever_is_read_it_never_panics(start in proptest::collection::vec(any::<u8>(), 0..200), piece in 1..64_usize) {
        let unpack = |stored: &[u8]| unpack_known(stored, piece, known(stored));
        let _ = unpack(&start);
        let _ = unpack(&[&super::frame::MAGIC[..], &start].concat());
        // A valid header, and then anything.
        let _ = unpack(&[&frame(&bytes(9000))[..10], &start].concat());
    }
}
