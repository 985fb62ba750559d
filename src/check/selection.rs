//! [`RuleSelection`]: the rules that a check applies.

use super::error::CheckError;
use super::rule::{RULES, Rule, rule};
use crate::suggest;

/// The rules that a check applies: those that `select` names, without those that `ignore` names. The
/// longer prefix takes precedence.
///
/// Codes and their beginnings are accepted, and names: `IPO101`, `IPO1`, `library-not-found`, `ALL`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSelection {
    select: Vec<String>,
    ignore: Vec<String>,
}

impl RuleSelection {
    /// Selects the rules `select`, all if empty, without the rules `ignore`.
    ///
    /// # Errors
    /// [`CheckError::UnknownRule`] for a text that names no rule.
    pub fn new(select: &[String], ignore: &[String]) -> Result<Self, CheckError> {
        let read = |texts: &[String]| texts.iter().map(|text| prefix(text)).collect::<Result<_, _>>();
        Ok(Self { select: read(select)?, ignore: read(ignore)? })
    }

    /// Returns true if the rule with this code is selected.
    pub(crate) fn includes_code(&self, code: &str) -> bool {
        rule(code).is_some_and(|rule| self.includes(rule))
    }

    /// Returns true if `rule` is selected.
    pub fn includes(&self, rule: &Rule) -> bool {
        let longest = |prefixes: &[String]| {
            let matching = prefixes.iter().filter(|prefix| rule.code.starts_with(prefix.as_str()));
            matching.map(|prefix| prefix.len() + 1).max().unwrap_or(0)
        };
        let selected = if self.select.is_empty() { 1 } else { longest(&self.select) };
        selected > longest(&self.ignore)
    }
}

/// Returns the beginning of the codes that `text` names; empty for `ALL`.
fn prefix(text: &str) -> Result<String, CheckError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("all") {
        return Ok(String::new());
    }
    if let Some(rule) = RULES.iter().find(|rule| rule.name.eq_ignore_ascii_case(text)) {
        return Ok(rule.code.to_owned());
    }
    let code = text.to_ascii_uppercase();
    if code.len() > "IPO".len() && RULES.iter().any(|rule| rule.code.starts_with(&code)) {
        return Ok(code);
    }
    let names = RULES.iter().flat_map(|rule| [rule.code, rule.name]);
    Err(CheckError::UnknownRule {
        text: text.to_owned(),
        nearest: suggest::nearest(text, names).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn includes(select: &[&str], ignore: &[&str], code: &str) -> bool {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        RuleSelection::new(&texts(select), &texts(ignore)).unwrap().includes(rule(code).unwrap())
    }

    #[test]
    fn the_longer_prefix_takes_precedence() {
        for (select, ignore, code, included) in [
            (&[][..], &[][..], "IPO101", true),
            (&[], &["IPO1"], "IPO101", false),
            (&["IPO1"], &[], "IPO101", true),
            (&["IPO1"], &[], "IPO601", false),
            (&["IPO101"], &["IPO1"], "IPO101", true),
            (&["IPO1"], &["IPO101"], "IPO101", false),
            (&["IPO1"], &["IPO101"], "IPO102", true),
            (&["all"], &["ipo6"], "IPO601", false),
            (&["IPO101"], &["ALL"], "IPO101", true),
            (&["library-not-found"], &[], "IPO103", true),
        ] {
            assert_eq!(includes(select, ignore, code), included, "{select:?} {ignore:?} {code}");
        }
    }

    #[test]
    fn an_unknown_rule_is_an_error_with_the_nearest() {
        let error = RuleSelection::new(&["library-not-foud".to_owned()], &[]).unwrap_err();
        assert_eq!(error.to_string(), "unknown rule `library-not-foud`; did you mean `library-not-found`?");
        for text in ["IPO", "IPO999", "", "E501"] {
            assert!(RuleSelection::new(&[text.to_owned()], &[]).is_err(), "{text}");
        }
    }
}
