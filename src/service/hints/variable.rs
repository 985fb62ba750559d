//! [`reference`]: a variable of a shell or of a Dockerfile: `$NAME`, `${NAME:-DEFAULT}`.

/// A reference to a variable, parsed from the text behind its `$`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VariableReference<'a> {
    /// The name, or the character of a special parameter: `@`, `1`.
    pub(super) name: &'a str,
    pub(super) rule: ValueRule<'a>,
    /// The number of bytes behind the `$`.
    pub(super) length: usize,
}

/// The rule of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueRule<'a> {
    /// The value itself.
    Plain,
    /// `:-`, `-`, `:=` and `=`: this word if there is no value.
    Default(&'a str),
    /// `:+` and `+`: this word if there is a value.
    Alternative(&'a str),
    /// `#` and `##`: the value without this text at its beginning.
    WithoutPrefix(&'a str),
    /// `:OFFSET:LENGTH`: a part of the value.
    Substring(usize, usize),
    /// `[@]` and `[*]`: the elements of an array.
    Elements,
    /// A part of the value, its length, or an error.
    Other,
}

/// Parses the text behind a `$`; `None` if the `$` stands for itself.
pub(super) fn reference(text: &str) -> Option<VariableReference<'_>> {
    let Some(inner) = text.strip_prefix('{') else {
        let name = name(text);
        return (!name.is_empty()).then_some(VariableReference {
            name,
            rule: ValueRule::Plain,
            length: name.len(),
        });
    };
    let end = closing(inner)?;
    let inner = inner.get(..end)?;
    let length = end + 2;
    let name = name(inner);
    let rest = &inner[name.len()..];
    if name.is_empty() {
        return inner.starts_with('#').then_some(VariableReference {
            name: inner,
            rule: ValueRule::Other,
            length,
        });
    }
    let after = |operators: &[&str]| operators.iter().find_map(|operator| rest.strip_prefix(*operator));
    let rule = match (after(&[":-", ":=", "-", "="]), after(&[":+", "+"])) {
        _ if rest.is_empty() => ValueRule::Plain,
        (Some(word), _) => ValueRule::Default(word),
        (None, Some(word)) => ValueRule::Alternative(word),
        _ if rest == "[@]" || rest == "[*]" => ValueRule::Elements,
        (None, None) => part_of_value(rest).unwrap_or(ValueRule::Other),
    };
    Some(VariableReference { name, rule, length })
}

/// Returns the rule for a part of the value, if the part needs no pattern.
fn part_of_value(rest: &str) -> Option<ValueRule<'_>> {
    if let Some(prefix) = rest.strip_prefix("##").or_else(|| rest.strip_prefix('#')) {
        let is_literal = !prefix.contains(['*', '?', '[', '$', '`', '"', '\'', '\\']);
        return is_literal.then_some(ValueRule::WithoutPrefix(prefix));
    }
    let (offset, length) = rest.strip_prefix(':')?.split_once(':')?;
    Some(ValueRule::Substring(offset.trim().parse().ok()?, length.trim().parse().ok()?))
}

/// Returns the name at the start of the text, or one special parameter.
fn name(text: &str) -> &str {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match text.chars().next() {
        Some(first) if first.is_ascii_digit() || "@*?!$".contains(first) => &text[..1],
        Some('#') if !text[1..].starts_with(is_name) => &text[..1],
        Some(first) if is_name(first) => &text[..text.find(|c| !is_name(c)).unwrap_or(text.len())],
        _ => "",
    }
}

/// Returns the offset of the brace that closes `${`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let found = |text| reference(text).map(|found| (found.name, found.rule, found.length));
        assert_eq!(found("PORT rest"), Some(("PORT", ValueRule::Plain, 4)));
        assert_eq!(found("{PORT}x"), Some(("PORT", ValueRule::Plain, 6)));
        assert_eq!(found("{A:-${B:-2}}"), Some(("A", ValueRule::Default("${B:-2}"), 12)));
        assert_eq!(found("{A+b}"), Some(("A", ValueRule::Alternative("b"), 5)));
        assert_eq!(found("{A%.*}"), Some(("A", ValueRule::Other, 6)));
        assert_eq!(found("{1#-}"), Some(("1", ValueRule::WithoutPrefix("-"), 5)));
        assert_eq!(found("{1:0:1}"), Some(("1", ValueRule::Substring(0, 1), 7)));
        assert_eq!(found("{A[@]}"), Some(("A", ValueRule::Elements, 6)));
        assert_eq!(found("{A##*/}"), Some(("A", ValueRule::Other, 7)));
        assert_eq!(found("@\""), Some(("@", ValueRule::Plain, 1)));
        assert_eq!(found("#"), Some(("#", ValueRule::Plain, 1)));
        assert_eq!(found("{#A}"), Some(("#A", ValueRule::Other, 4)));
        for literal in ["", " x", "{A", "(date)", "é"] {
            assert_eq!(found(literal), None, "{literal}");
        }
    }
}
