//! Expands the dynamic string tokens `$ORIGIN`, `$LIB` and `$PLATFORM` (ld.so(8)).

/// The values of the tokens for one object.
#[derive(Debug, Clone, Copy)]
pub(super) struct DstValues<'a> {
    /// The directory of the object with the token.
    pub(super) origin: &'a str,
    /// `lib/x86_64-linux-gnu`, `lib64` or `lib`.
    pub(super) lib: &'a str,
    /// The kernel's name of the processor.
    pub(super) platform: Option<&'a str>,
}

/// Replaces the tokens of `text`, in braces or without. Unknown tokens stay. An unknown `$PLATFORM`
/// gives `None`, because the loader then drops the path.
pub(super) fn expand(text: &str, tokens: DstValues<'_>) -> Option<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, token) = rest.split_at(at);
        expanded.push_str(before);
        let token = token.strip_prefix('$').unwrap_or_default();
        let known =
            [("ORIGIN", Some(tokens.origin)), ("LIB", Some(tokens.lib)), ("PLATFORM", tokens.platform)]
                .into_iter()
                .find_map(|(name, value)| Some((strip_token(token, name)?, value)));
        if let Some((after, value)) = known {
            expanded.push_str(value?);
            rest = after;
        } else {
            expanded.push('$');
            rest = token;
        }
    }
    expanded.push_str(rest);
    Some(expanded)
}

/// Returns the rest of `text` after the token `name`, if `text` begins with that token.
fn strip_token<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    if let Some(inner) = text.strip_prefix('{') {
        return inner.strip_prefix(name)?.strip_prefix('}');
    }
    let after = text.strip_prefix(name)?;
    // `$ORIGINAL` is another name, not `$ORIGIN` and two letters.
    let goes_on = after.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
    (!goes_on).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKENS: DstValues<'_> = DstValues { origin: "/o", lib: "lib64", platform: Some("x86_64") };

    #[test]
    fn replaces_tokens_as_the_loader_does() {
        for (text, expanded) in [
            ("/usr/lib", "/usr/lib"),
            ("$ORIGIN", "/o"),
            ("$ORIGIN/../lib", "/o/../lib"),
            ("${ORIGIN}/../lib", "/o/../lib"),
            ("${ORIGIN}x", "/ox"),
            ("$ORIGINAL", "$ORIGINAL"),
            ("$ORIGIN_", "$ORIGIN_"),
            ("${ORIGIN", "${ORIGIN"),
            ("/opt/$LIB/$PLATFORM", "/opt/lib64/x86_64"),
            ("$$ORIGIN", "$/o"),
            ("$HOME/lib$", "$HOME/lib$"),
            ("", ""),
        ] {
            assert_eq!(expand(text, TOKENS).as_deref(), Some(expanded), "{text}");
        }
    }

    #[test]
    fn drops_a_path_whose_platform_is_unknown() {
        let tokens = DstValues { platform: None, ..TOKENS };
        assert_eq!(expand("/a/$PLATFORM", tokens), None);
        assert_eq!(expand("/a/$LIB", tokens).as_deref(), Some("/a/lib64"));
    }

    proptest! {
        #[test]
        fn keeps_text_without_a_token(text in "[^$]{0,40}") {
            prop_assert_eq!(expand(&text, TOKENS), Some(text));
        }

        #[test]
        fn never_panics(text in "[$\\{\\}ORIGNLBé/_]{0,40}") {
            expand(&text, TOKENS);
        }
    }
}
