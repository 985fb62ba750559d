//! zstd (RFC 8878), compressed by libzstd's own thread pool, and decompressed with a bounded
//! window.
//!
//! libzstd cuts a stream into jobs by a size that depends only on the parameters, so the bytes are
//! the same for any number of workers from one up; without workers, another algorithm writes other
//! bytes. So there are always workers, and the job size is set here: at high levels, the default
//! would need a gigabyte.

use std::io::{self, BufRead, Write};
use std::num::NonZero;

use zstd::stream::raw::CParameter;

/// Job size in bytes of input, equal to the default at libzstd's usual level.
const JOB: u32 = 8 << 20;

/// The largest accepted window, as a power of two: the default limit of libzstd and the `zstd`
/// command. Bounds the memory for a layer.
const LARGEST_WINDOW: u32 = 27;

/// Returns a compressor to `sink`.
pub(super) fn writer<W: Write>(
    sink: W,
    level: i32,
    threads: NonZero<usize>,
) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let mut encoder = zstd::stream::write::Encoder::new(sink, level)?;
    encoder.multithread(u32::try_from(threads.get()).unwrap_or(1))?;
    encoder.set_parameter(CParameter::JobSize(JOB))?;
    // The digest of the blob covers more.
    encoder.include_checksum(false)?;
    Ok(encoder)
}

/// Returns a decompressor of all frames in `source`.
pub(super) fn reader<R: BufRead>(source: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
    decoder.window_log_max(LARGEST_WINDOW)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn compressed(input: &[u8], level: i32, threads: usize, piece: usize) -> Vec<u8> {
        let mut encoder = writer(Vec::new(), level, NonZero::new(threads).unwrap()).unwrap();
        for piece in input.chunks(piece) {
            encoder.write_all(piece).unwrap();
        }
        encoder.finish().unwrap()
    }

    /// Returns bytes that compress a little, differently everywhere.
    fn noise(size: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 27).to_be_bytes()[3]
        };
        (0..size).map(|_| next()).collect()
    }

    #[test]
    fn bytes_do_not_depend_on_threads_or_write_sizes() {
        let input = noise(2 * JOB as usize + 12_345);
        let one = compressed(&input, 1, 1, 1 << 20);
        for (threads, piece) in [(2, 1 << 20), (1, 777), (4, usize::MAX)] {
            assert!(compressed(&input, 1, threads, piece) == one, "{threads} threads, {piece} bytes");
        }
    }

    #[test]
    fn refuses_huge_windows() {
        // Magic; no content size, no checksum; a window of 2^31 bytes; one empty last block.
        let frame = |window: u8| [0x28, 0xb5, 0x2f, 0xfd, 0x00, window << 3, 0x01, 0x00, 0x00];
        let read = |frame: &[u8]| reader(frame).and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
        assert_eq!(read(&frame(27 - 10)).unwrap(), 0);
        assert!(read(&frame(31 - 10)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn round_trips_any_input(input in proptest::collection::vec(any::<u8>(), 0..100_000), level in 1..=19) {
            let mut output = Vec::new();
            // Consecutive frames, as in a layer of `zstd:chunked`.
            let two = [compressed(&input, level, 2, 4096), compressed(b"end", 1, 1, 1)].concat();
            reader(&two[..]).unwrap().read_to_end(&mut output).unwrap();
            prop_assert!(output == [&input[..], b"end"].concat());
        }
    }
}
