//! strftime for chat templates that print today's date: the C locale's names, proleptic Gregorian calendar.

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

struct Moment {
    year: i64,
    month: i64, // 1..=12
    day: i64,   // 1..=31
    weekday: i64,
    day_of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

/// Howard Hinnant's civil_from_days: eras of 400 years that begin on 1 March.
fn moment(seconds: i64) -> Moment {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][(month - 1) as usize];
    Moment {
        year,
        month,
        day,
        weekday: (days + 4).rem_euclid(7), // 1970-01-01 was a Thursday
        day_of_year: before + day + i64::from(leap && month > 2),
        hour: rest / 3_600,
        minute: rest / 60 % 60,
        second: rest % 60,
    }
}

/// `format` applied to a count of seconds since 1970-01-01 in the caller's own time zone.
pub fn strftime(format: &str, seconds: i64) -> Result<String, String> {
    if seconds.unsigned_abs() > 1 << 40 {
        return Err(format!("time {seconds} is out of range"));
    }
    let now = moment(seconds);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let code = chars.next().ok_or("strftime format ends in %")?;
        let (code, padded) =
            if code == '-' { (chars.next().ok_or("strftime format ends in %-")?, false) } else { (code, true) };
        out.push_str(&field(&now, code, padded).ok_or_else(|| format!("strftime code %{code} is not supported"))?);
    }
    Ok(out)
}

fn field(now: &Moment, code: char, padded: bool) -> Option<String> {
    let number = |value: i64, width: usize| {
        if padded {
            format!("{value:0width$}")
        } else {
            value.to_string()
        }
    };
    let hour12 = if now.hour % 12 == 0 { 12 } else { now.hour % 12 };
    let day_name = DAYS[now.weekday as usize];
    let month_name = MONTHS[(now.month - 1) as usize];
    Some(match code {
        'Y' => number(now.year, 4),
        'y' => number(now.year.rem_euclid(100), 2),
        'm' => number(now.month, 2),
        'd' => number(now.day, 2),
        'e' => format!("{:>2}", now.day),
        'j' => number(now.day_of_year, 3),
        'H' => number(now.hour, 2),
        'I' => number(hour12, 2),
        'M' => number(now.minute, 2),
        'S' => number(now.second, 2),
        'p' => {
            if now.hour < 12 {
                "AM".into()
            } else {
                "PM".into()
            }
        }
        'A' => day_name.into(),
        'a' => day_name[..3].into(),
        'B' => month_name.into(),
        'b' | 'h' => month_name[..3].into(),
        'F' => format!("{:04}-{:02}-{:02}", now.year, now.month, now.day),
        'T' => format!("{:02}:{:02}:{:02}", now.hour, now.minute, now.second),
        'D' => format!("{:02}/{:02}/{:02}", now.month, now.day, now.year.rem_euclid(100)),
        'Z' | 'z' => String::new(), // a naive time, as Python's datetime.now()
        '%' => "%".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn formats_known_moments() {
        assert_eq!(strftime("%d %b %Y", 1_721_952_000).unwrap(), "26 Jul 2024");
        assert_eq!(strftime("%A %B %-d %H:%M:%S %j", 1_709_210_096).unwrap(), "Thursday February 29 12:34:56 060");
        assert_eq!(strftime("%F", -1).unwrap(), "1969-12-31");
        assert!(strftime("%Q", 0).is_err());
    }
}
