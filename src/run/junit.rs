//! JUnit XML, which continuous integration displays.
//!
//! The format has no standard; elements and attributes are those of the Ant task that every reader
//! accepts. `maud` escapes values as XML requires. `quick-junit` would add chrono, uuid and an XML writer.

use maud::{Markup, PreEscaped, html};

use super::report::{TestReport, TestStep};
use crate::printable;

/// The test of one image.
#[derive(Debug)]
pub struct Suite<'a> {
    /// The name of the image.
    pub name: &'a str,
    /// The result.
    pub report: &'a TestReport,
}

/// Formats the results as one document.
pub fn junit(suites: &[Suite<'_>]) -> String {
    let steps = || suites.iter().flat_map(|suite| &suite.report.steps);
    let markup = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        testsuites tests=(steps().count()) failures=(failures(steps())) {
            @for suite in suites { (element(suite)) }
        }
    };
    markup.into_string() + "\n"
}

fn element(suite: &Suite<'_>) -> Markup {
    let TestReport { steps, log, .. } = suite.report;
    let name = printable::name(suite.name);
    html! {
        testsuite name=(name) tests=(steps.len()) failures=(failures(steps.iter())) errors="0"
            time=(format!("{:.3}", suite.report.duration().as_secs_f64())) {
            @for step in steps {
                testcase classname=(name) name=(printable::name(&step.name))
                    time=(format!("{:.3}", step.duration.as_secs_f64())) {
                    @if step.has_failed() {
                        failure message=(printable::name(&step.detail)) {}
                    }
                }
            }
            // Control characters are not permitted in XML, even escaped.
            system-out { (printable::text(log)) }
        }
    }
}

fn failures<'a>(steps: impl Iterator<Item = &'a TestStep>) -> usize {
    steps.filter(|step| step.has_failed()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn escapes_values_and_counts_failures() {
        let steps = vec![
            TestStep::passed("start", "with crun", Duration::from_millis(1500)),
            TestStep::failed("GET /a?b&c", "status 500 \"<x>\"", Duration::from_millis(20)),
        ];
        let report = TestReport { steps, log: "a < b\x1b[0m\n".to_owned(), ..TestReport::default() };
        let text = junit(&[Suite { name: "oci:x", report: &report }]);
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites tests=\"2\" failures=\"1\">\
             <testsuite name=\"oci:x\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"1.520\">\
             <testcase classname=\"oci:x\" name=\"start\" time=\"1.500\"></testcase>\
             <testcase classname=\"oci:x\" name=\"GET /a?b&amp;c\" time=\"0.020\">\
             <failure message=\"status 500 &quot;&lt;x&gt;&quot;\"></failure></testcase>\
             <system-out>a &lt; b\\u{1b}[0m\n</system-out></testsuite></testsuites>\n"
        );
    }
}
