//! Replaces the interpreter's old prefix in its own text files.
//!
//! `sysconfig` and `pkg-config` return paths fixed when the interpreter was built. The interpreter
//! starts without them, but builds against the interpreter use them, and they would expose paths of
//! the build machine.

/// The old prefixes and the new one.
#[derive(Debug)]
pub(super) struct PrefixRewrite {
    old: Vec<String>,
    new: String,
}

impl PrefixRewrite {
    /// Replaces each of `old` that differs from `new`; both are absolute, without a final slash.
    pub(super) fn new(old: impl IntoIterator<Item = String>, new: String) -> Self {
        let mut old: Vec<String> =
            old.into_iter().filter(|prefix| *prefix != new && prefix.len() > 1).collect();
        // The longest first: one prefix may begin with another.
        old.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        old.dedup();
        Self { old, new }
    }

    /// Returns the new text; `None` without an occurrence.
    pub(super) fn apply(&self, text: &str) -> Option<String> {
        let mut changed = None;
        for old in &self.old {
            let text = changed.as_deref().unwrap_or(text);
            if let Some(new) = replace(text, old, &self.new) {
                changed = Some(new);
            }
        }
        changed
    }
}

fn replace(text: &str, old: &str, new: &str) -> Option<String> {
    let mut result = String::new();
    let mut copied = 0;
    for (at, _) in text.match_indices(old) {
        let (before, after) = (&text[..at], &text[at + old.len()..]);
        if at < copied || !begins_path(before, old) || !ends_component(after) {
            continue;
        }
        result.push_str(&text[copied..at]);
        result.push_str(new);
        copied = at + old.len();
    }
    if copied == 0 {
        return None;
    }
    result.push_str(&text[copied..]);
    Some(result)
}

/// Returns whether a path begins after `before`: true for `/install` in `-L/install` and
/// `=/install`, false in `/usr/bin/install`. CPython 3.11 writes `./home/u/python` for its
/// WebAssembly build.
fn begins_path(before: &str, old: &str) -> bool {
    let is_path = |c: char| c.is_alphanumeric() || "/._-+~@".contains(c);
    let word = before.rfind(|c| !is_path(c)).map_or(before, |at| {
        let separator = before[at..].chars().next().map_or(0, char::len_utf8);
        &before[at + separator..]
    });
    let is_deep = old.matches('/').count() > 1;
    word.is_empty() || (word == "." && is_deep) || (word.starts_with('-') && !word.contains('/'))
}

/// Returns whether a name ends before `after`: false for `/opt/python3` in `/opt/python3.11`.
fn ends_component(after: &str) -> bool {
    let Some(next) = after.chars().next() else { return true };
    !(next.is_alphanumeric() || "._-+~@".contains(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(text: &str) -> String {
        let old = ["/install".to_owned(), "/home/u/.pyenv/versions/3.11.7".to_owned()];
        PrefixRewrite::new(old, "/usr/local".to_owned()).apply(text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn replaces_whole_paths_only() {
        let cases = [
            ("prefix=/install", "prefix=/usr/local"),
            ("'BINDIR': '/install/bin'", "'BINDIR': '/usr/local/bin'"),
            ("/usr/bin/install -c", "/usr/bin/install -c"),
            ("-L/install/lib -I/install/include", "-L/usr/local/lib -I/usr/local/include"),
            ("-Wl,-rpath,/install/lib", "-Wl,-rpath,/usr/local/lib"),
            ("/installed /install.sh /install-x", "/installed /install.sh /install-x"),
            ("/install:/install", "/usr/local:/usr/local"),
            ("\"/home/u/.pyenv/versions/3.11.7/lib\"", "\"/usr/local/lib\""),
            ("/home/u/.pyenv/versions/3.11.70", "/home/u/.pyenv/versions/3.11.70"),
            ("/mnt/home/u/.pyenv/versions/3.11.7", "/mnt/home/u/.pyenv/versions/3.11.7"),
            ("é/install", "é/install"),
            ("./install", "./install"),
            ("'./home/u/.pyenv/versions/3.11.7/x'", "'./usr/local/x'"),
            ("nothing", "nothing"),
        ];
        for (before, after) in cases {
            assert_eq!(rewrite(before), after);
        }
    }

    #[test]
    fn an_unchanged_prefix_keeps_the_text() {
        let same = PrefixRewrite::new(["/usr/local".to_owned()], "/usr/local".to_owned());
        assert_eq!(same.apply("/usr/local/bin"), None);
    }
}
