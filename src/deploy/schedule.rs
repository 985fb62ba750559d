//! [`Schedule`]: five fields of a crontab (crontab(5)) in the forms of other schedulers.

/// The times of a scheduled process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    minute: String,
    hour: String,
    day: String,
    month: String,
    weekday: String,
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

impl Schedule {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_whitespace().map(str::to_owned);
        let mut next = || fields.next();
        let schedule =
            Self { minute: next()?, hour: next()?, day: next()?, month: next()?, weekday: next()? };
        fields.next().is_none().then_some(schedule)
    }

    /// Returns the times as a calendar event (systemd.time(7)). `None` if there is none: cron joins the days of the month
    /// and of the week by "or", systemd by "and".
    pub(super) fn to_calendar(&self) -> Option<String> {
        if self.day != "*" && self.weekday != "*" {
            return None;
        }
        let month = self.month.to_ascii_lowercase();
        let month = MONTHS
            .iter()
            .zip(1..)
            .fold(month, |text, (name, number)| text.replace(name, &number.to_string()));
        let weekday = match self.weekday.as_str() {
            "*" => String::new(),
            days => format!("{} ", weekdays(days)?),
        };
        let (minute, hour) = (calendar(&self.minute, 0)?, calendar(&self.hour, 0)?);
        let (day, month) = (calendar(&self.day, 1)?, calendar(&month, 1)?);
        Some(format!("{weekday}*-{month}-{day} {hour}:{minute}:00 UTC"))
    }

    /// Returns the times as an expression of Amazon EventBridge, whose one of both days is `?`.
    pub(super) fn to_eventbridge(&self) -> Option<String> {
        let (day, weekday) = match (self.day.as_str(), self.weekday.as_str()) {
            (day, "*") => (day.to_owned(), "?".to_owned()),
            // Days of the week are numbers from 1 there; names are the same.
            ("*", days) => ("?".to_owned(), weekdays(days)?.replace("..", "-").to_ascii_uppercase()),
            _ => return None,
        };
        Some(format!("cron({} {} {day} {} {weekday} *)", self.minute, self.hour, self.month))
    }
}

/// Returns a field in the form of systemd: `*/5` is `0/5`, `1-5` is `1..5`.
fn calendar(field: &str, first: u8) -> Option<String> {
    let item = |item: &str| -> Option<String> {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let range = match range {
            "*" if step.is_some() => first.to_string(),
            "*" => "*".to_owned(),
            range => range.replace('-', ".."),
        };
        range.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '*').then_some(())?;
        Some(step.map_or(range.clone(), |step| format!("{range}/{step}")))
    };
    Some(field.split(',').map(item).collect::<Option<Vec<_>>>()?.join(","))
}

/// Returns days of the week by name: `1-5` is `Mon..Fri`, `0,sat` is `Sun,Sat`.
fn weekdays(field: &str) -> Option<String> {
    let day = |text: &str| -> Option<&'static str> {
        match text.parse::<usize>() {
            Ok(number) => WEEKDAYS.get(number % 7).copied().filter(|_| number <= 7),
            Err(_) => WEEKDAYS.into_iter().find(|name| name.eq_ignore_ascii_case(text)),
        }
    };
    let item = |item: &str| match item.split_once('-') {
        Some((first, last)) => Some(format!("{}..{}", day(first)?, day(last)?)),
        None => day(item).map(str::to_owned),
    };
    Some(field.split(',').map(item).collect::<Option<Vec<_>>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_forms_of_other_schedulers() {
        for (text, calendar, eventbridge) in [
            ("0 4 * * *", Some("*-*-* 4:0:00 UTC"), Some("cron(0 4 * * ? *)")),
            (
                "*/5 0-6 * jan,3 mon-fri",
                Some("Mon..Fri *-1,3-* 0..6:0/5:00 UTC"),
                Some("cron(*/5 0-6 ? jan,3 MON-FRI *)"),
            ),
            ("30 2 1 * *", Some("*-*-1 2:30:00 UTC"), Some("cron(30 2 1 * ? *)")),
            ("0 0 * * 7", Some("Sun *-*-* 0:0:00 UTC"), Some("cron(0 0 ? * SUN *)")),
            ("0 0 1 * 1", None, None),
            ("0 0 * * noday", None, None),
        ] {
            let schedule = Schedule::parse(text).unwrap();
            assert_eq!(schedule.to_calendar().as_deref(), calendar, "{text}");
            assert_eq!(schedule.to_eventbridge().as_deref(), eventbridge, "{text}");
        }
        assert_eq!(Schedule::parse("0 0 * *"), None);
    }
}
