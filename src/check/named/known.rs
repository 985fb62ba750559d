//! Distributions whose modules load libraries by name, and those that start programs.

/// A library that a distribution loads by name.
#[derive(Debug)]
pub(in crate::check) struct KnownLibrary {
    /// The distribution, by its normalized name.
    pub(in crate::check) distribution: &'static str,
    /// The file names that its module opens: one of them is needed.
    pub(in crate::check) files: &'static [&'static str],
    /// The names that its module passes to `find_library`: one of them is enough too.
    pub(in crate::check) found: &'static [&'static str],
    /// The file name of the library, for the setting `libraries`.
    pub(in crate::check) soname: &'static str,
    /// The Debian package with the library.
    pub(in crate::check) package: &'static str,
    /// A distribution or a variable that replaces the library.
    pub(in crate::check) instead: &'static [&'static str],
}

const fn library(
    distribution: &'static str,
    files: &'static [&'static str],
    found: &'static [&'static str],
    soname: &'static str,
    package: &'static str,
) -> KnownLibrary {
    KnownLibrary { distribution, files, found, soname, package, instead: &[] }
}

impl KnownLibrary {
    const fn or(mut self, instead: &'static [&'static str]) -> Self {
        self.instead = instead;
        self
    }
}

/// The libraries, ordered by distribution. Each entry was read in the source of the distribution.
pub(in crate::check) static LIBRARIES: &[KnownLibrary] = &[
    library("cairocffi", &["libcairo.so.2"], &["cairo-2", "cairo"], "libcairo.so.2", "libcairo2"),
    library("fusepy", &[], &["fuse"], "libfuse.so.2", "libfuse2").or(&["FUSE_LIBRARY_PATH"]),
    library("ghostscript", &["libgs.so"], &["gs"], "libgs.so.10", "libgs10"),
    library("libarchive-c", &[], &["archive"], "libarchive.so.13", "libarchive13").or(&["LIBARCHIVE"]),
    library(
        "libusb1",
        &["libusb-1.0.so.0", "libusb-1.0.so"],
        &["usb-1.0"],
        "libusb-1.0.so.0",
        "libusb-1.0-0",
    ),
    library("mpv", &[], &["mpv"], "libmpv.so.2", "libmpv2"),
    library(
        "openslide-python",
        &["libopenslide.so.1", "libopenslide.so.0"],
        &[],
        "libopenslide.so.0",
        "libopenslide0",
    )
    .or(&["openslide-bin"]),
    library("opuslib", &[], &["opus"], "libopus.so.0", "libopus0"),
    library("psycopg", &[], &["pq"], "libpq.so.5", "libpq5").or(&["psycopg-binary", "psycopg-c"]),
    library("pyenchant", &[], &["enchant-2", "enchant", "enchant-1"], "libenchant-2.so.2", "libenchant-2-2")
        .or(&["PYENCHANT_LIBRARY_PATH", "PYENCHANT_ENCHANT_PREFIX"]),
    library("pyfluidsynth", &[], &["fluidsynth"], "libfluidsynth.so.3", "libfluidsynth3"),
    library(
        "pyhidapi",
        &[],
        &["hidapi", "hidapi-libusb", "hidapi-hidraw"],
        "libhidapi-libusb.so.0",
        "libhidapi-libusb0",
    ),
    library("pylibdmtx", &[], &["dmtx"], "libdmtx.so.0", "libdmtx0b"),
    library("pysodium", &[], &["sodium", "libsodium"], "libsodium.so.23", "libsodium23"),
    library("python-magic", &["libmagic.so.1"], &["magic"], "libmagic.so.1", "libmagic1"),
    library("python-mpv", &[], &["mpv"], "libmpv.so.2", "libmpv2"),
    library("python-vlc", &["libvlc.so.5"], &["vlc"], "libvlc.so.5", "libvlc5").or(&["PYTHON_VLC_LIB_PATH"]),
    library("pyudev", &[], &["udev"], "libudev.so.1", "libudev1"),
    library("pyvips", &["libvips.so.42"], &[], "libvips.so.42", "libvips42").or(&["pyvips-binary"]),
    library("pyzbar", &[], &["zbar"], "libzbar.so.0", "libzbar0"),
    library("rtree", &[], &["spatialindex_c"], "libspatialindex_c.so.6", "libspatialindex-c6")
        .or(&["SPATIALINDEX_C_LIBRARY"]),
    library("sounddevice", &[], &["portaudio"], "libportaudio.so.2", "libportaudio2"),
    library("soundfile", &["libsndfile.so"], &["sndfile"], "libsndfile.so.1", "libsndfile1"),
    library("wand", &[], &["MagickWand"], "libMagickWand-6.Q16.so.6", "libmagickwand-6.q16-6")
        .or(&["MAGICK_HOME"]),
    library("weasyprint", &["libfontconfig.so.1"], &[], "libfontconfig.so.1", "libfontconfig1"),
    library("weasyprint", &["libgobject-2.0.so.0"], &[], "libgobject-2.0.so.0", "libglib2.0-0"),
    library("weasyprint", &["libharfbuzz.so.0"], &[], "libharfbuzz.so.0", "libharfbuzz0b"),
    library("weasyprint", &["libpango-1.0.so.0"], &[], "libpango-1.0.so.0", "libpango-1.0-0"),
    library("weasyprint", &["libpangoft2-1.0.so.0"], &[], "libpangoft2-1.0.so.0", "libpangoft2-1.0-0"),
];

/// A program that a distribution starts.
#[derive(Debug)]
pub(in crate::check) struct KnownProgram {
    /// The distribution, by its normalized name.
    pub(in crate::check) distribution: &'static str,
    /// The programs: one of them is needed.
    pub(in crate::check) programs: &'static [&'static str],
    /// The Debian package with the program.
    pub(in crate::check) package: &'static str,
    /// A distribution or a variable that replaces the program.
    pub(in crate::check) instead: &'static [&'static str],
}

const fn program(
    distribution: &'static str,
    programs: &'static [&'static str],
    package: &'static str,
    instead: &'static [&'static str],
) -> KnownProgram {
    KnownProgram { distribution, programs, package, instead }
}

/// The programs, ordered by distribution. Each entry was read in the source of the distribution.
pub(in crate::check) static PROGRAMS: &[KnownProgram] = &[
    program("ffmpeg-python", &["ffmpeg"], "ffmpeg", &["static-ffmpeg"]),
    program("ffmpy", &["ffmpeg"], "ffmpeg", &["static-ffmpeg"]),
    program("gitpython", &["git"], "git", &["GIT_PYTHON_REFRESH", "GIT_PYTHON_GIT_EXECUTABLE"]),
    program("graphviz", &["dot"], "graphviz", &[]),
    program("imgkit", &["wkhtmltoimage"], "wkhtmltopdf", &[]),
    program("language-tool-python", &["java"], "default-jre-headless", &[]),
    program("ocrmypdf", &["tesseract"], "ocrmypdf", &[]),
    program("openai-whisper", &["ffmpeg"], "ffmpeg", &["static-ffmpeg"]),
    program("pdf2image", &["pdftoppm"], "poppler-utils", &[]),
    program("pdfkit", &["wkhtmltopdf"], "wkhtmltopdf", &[]),
    program("pydot", &["dot"], "graphviz", &[]),
    program("pydub", &["ffmpeg", "avconv"], "ffmpeg", &["static-ffmpeg"]),
    program("pypandoc", &["pandoc"], "pandoc", &["PYPANDOC_PANDOC", "pypandoc-binary"]),
    program("pytesseract", &["tesseract"], "tesseract-ocr", &[]),
    program("python-gnupg", &["gpg"], "gnupg", &[]),
    program("pyvirtualdisplay", &["Xvfb", "Xvnc", "Xephyr"], "xvfb", &[]),
    program("tabula-py", &["java"], "default-jre-headless", &[]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::normalize;

    #[test]
    fn tables_are_ordered_by_normalized_names() {
        let key = |library: &KnownLibrary| (library.distribution, library.soname);
        assert!(LIBRARIES.is_sorted_by(|a, b| key(a) < key(b)));
        assert!(PROGRAMS.is_sorted_by(|a, b| a.distribution < b.distribution));
        let libraries = LIBRARIES.iter().map(|library| library.distribution);
        for name in libraries.chain(PROGRAMS.iter().map(|program| program.distribution)) {
            assert_eq!(normalize(name), name);
        }
    }
}
