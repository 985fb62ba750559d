//! Identity of the layer writer, part of every cache key of a layer.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Mutex;

use super::{Compression, NoWatch, write};
use crate::sync::LockExt as _;
use crate::tree::{Entry, ImagePath, Owner, Tree};

/// The revision of the layer format, raised with every change to the bytes.
const REVISION: u32 = 1;
/// Size of the sample in bytes. Enough for matches at all distances of deflate.
const SAMPLE: usize = 48 << 10;

impl Compression {
    /// Identifies everything beside the files that decides a layer's bytes: the archive format, the
    /// compressor with its level, and the compressed bytes of a sample. A build with another
    /// version of a compressor has another identity if that version writes other bytes.
    pub fn identity(self) -> String {
        static KNOWN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
        let name = match self {
            Self::None => "none".to_owned(),
            Self::Gzip(level) => format!("gzip:{level}"),
            Self::Zstd(level) => format!("zstd:{level}"),
        };
        let mut known = KNOWN.lock_forgiving();
        known.entry(name.clone()).or_insert_with(|| format!("{REVISION} {name} {}", self.sample())).clone()
    }

    /// Returns the digest of a constant layer, or the message of an error.
    fn sample(self) -> String {
        let mut state = 1_u32;
        let words =
            ["import ", "return self.", "\0\0\0\0", "def ", "    ", "\u{fe}", "numpy", "\n", "(", "_"];
        let mut text = String::with_capacity(SAMPLE + 16);
        while text.len() < SAMPLE {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(words[(state >> 24) as usize % words.len()]);
        }
        let mut tree = Tree::new();
        let path = ImagePath::new("sample").unwrap_or_default();
        let added = tree.insert(Entry::file(path, text.into(), Owner::Source));
        let written = write(&tree, self, Some(NonZero::<usize>::MIN), &mut std::io::sink(), &mut NoWatch);
        match (added, written) {
            (Ok(()), Ok(written)) => written.digest.to_string(),
            (Err(error), _) => error.to_string(),
            (_, Err(error)) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_differ_by_compression() {
        let ways = [Compression::None, Compression::Gzip(3), Compression::Gzip(4)];
        let mut all: Vec<String> = ways.iter().map(|way| way.identity()).collect();
        assert_eq!(all[1], Compression::Gzip(3).identity());
        all.sort();
        all.dedup();
        assert_eq!(all.len(), ways.len());
        // The sample is one in which levels differ.
        assert_ne!(Compression::Gzip(3).sample(), Compression::Gzip(4).sample());
    }
}
