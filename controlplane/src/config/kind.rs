//! Kinds of values: what a key takes, in words and as a check.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use afr_dataplane::config::Prefix6;
use toml::de::DeValue;
use toml::value::{Datetime, Offset};

use super::problem::listed;
use super::process::DeviceKind;

/// What a key takes.
pub(crate) struct Kind<T> {
    expected: String,
    #[expect(
        clippy::type_complexity,
        reason = "one boxed closure, named by the struct"
    )]
    read: Box<dyn Fn(&DeValue<'_>) -> Option<T>>,
}

impl<T> fmt::Debug for Kind<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expected)
    }
}

impl<T> Kind<T> {
    fn new(
        expected: impl Into<String>,
        read: impl Fn(&DeValue<'_>) -> Option<T> + 'static,
    ) -> Self {
        Self {
            expected: expected.into(),
            read: Box::new(read),
        }
    }

    /// A text of some form.
    fn of_text(expected: &str, read: impl Fn(&str) -> Option<T> + 'static) -> Self {
        Self::new(expected, move |value| value.as_str().and_then(&read))
    }

    /// What it takes, in words: "a number from 1 to 9".
    pub(crate) fn expected(&self) -> String {
        self.expected.clone()
    }

    /// The value, if it is of this kind.
    pub(crate) fn read(&self, value: &DeValue<'_>) -> Option<T> {
        (self.read)(value)
    }
}

/// A whole number in a range.
pub(crate) fn int<T>(range: RangeInclusive<T>) -> Kind<T>
where
    T: TryFrom<i128> + Into<i128> + Copy + fmt::Display + PartialOrd + 'static,
{
    let expected = format!("{} to {}", range.start(), range.end());
    Kind::new(expected, move |value| {
        let digits = value.as_integer()?;
        let number = i128::from_str_radix(digits.as_str(), digits.radix()).ok()?;
        T::try_from(number).ok().filter(|n| range.contains(n))
    })
}

/// A prime in a range.
pub(crate) fn prime(range: RangeInclusive<u32>) -> Kind<u32> {
    let expected = format!("a prime from {} to {}", range.start(), range.end());
    let number = int(range);
    Kind::new(expected, move |value| {
        number.read(value).filter(|n| is_prime(*n))
    })
}

fn is_prime(n: u32) -> bool {
    let factors = (2..).take_while(|f: &u32| f.checked_mul(*f).is_some_and(|square| square <= n));
    n >= 2 && factors.into_iter().all(|factor| !n.is_multiple_of(factor))
}

/// `true` or `false`.
pub(crate) fn boolean() -> Kind<bool> {
    Kind::new("true or false", |value| value.as_bool())
}

/// A text that is not empty.
pub(crate) fn text() -> Kind<String> {
    Kind::of_text("a text that is not empty", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    })
}

/// A name: what logs, metrics and commands call something.
pub(crate) fn name() -> Kind<String> {
    let expected = "a name of 1 to 64 letters, digits, '-', '_', '.', ':' or '/'";
    Kind::of_text(expected, |text| {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        ((1..=64).contains(&text.len()) && text.chars().all(is_fit)).then(|| text.to_owned())
    })
}

/// A label: any text of 1 to 255 bytes.
pub(crate) fn label() -> Kind<String> {
    Kind::of_text("a label of 1 to 255 bytes", |text| {
        (1..=255).contains(&text.len()).then(|| text.to_owned())
    })
}

/// One of a few words, each for a value.
pub(crate) fn one_of<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let expected = format!("one of {}", listed(words.iter().map(|(word, _)| *word)));
    Kind::of_text(&expected, |text| {
        let word = words.iter().find(|(word, _)| *word == text);
        word.map(|(_, value)| *value)
    })
}

/// An IPv6 address of one station.
pub(crate) fn address() -> Kind<Ipv6Addr> {
    Kind::of_text("a unicast IPv6 address", |text| {
        let address: Ipv6Addr = text.parse().ok()?;
        let is_station =
            !address.is_multicast() && !address.is_unspecified() && !address.is_loopback();
        is_station.then_some(address)
    })
}

/// An IPv6 prefix.
pub(crate) fn prefix() -> Kind<Prefix6> {
    let expected = "an IPv6 prefix whose bits beyond its length are 0, such as \"fd00::/64\"";
    Kind::of_text(expected, |text| {
        let (address, length) = text.split_once('/')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 128)?;
        let prefix = Prefix6::new(address, length);
        (prefix.address() == address).then_some(prefix)
    })
}

/// An IPv6 prefix of 96 bits.
pub(crate) fn service_prefix() -> Kind<Prefix6> {
    let prefix = prefix();
    let expected = "an IPv6 prefix of 96 bits, such as \"fd00:a9::/96\"";
    Kind::new(expected, move |value| {
        prefix.read(value).filter(|prefix| prefix.length() == 96)
    })
}

/// Address and TCP port to listen on.
pub(crate) fn socket_address() -> Kind<SocketAddr> {
    let expected = "an address and a port, such as \"127.0.0.1:9472\" or \"[::1]:9472\"";
    Kind::of_text(expected, |text| {
        let address: SocketAddr = text.parse().ok()?;
        let is_host = match address.ip() {
            IpAddr::V4(ip) => !ip.is_multicast(),
            IpAddr::V6(ip) => !ip.is_multicast(),
        };
        is_host.then_some(address)
    })
}

/// An Ethernet address of one station.
pub(crate) fn mac() -> Kind<[u8; 6]> {
    let expected = "a unicast Ethernet address, such as \"02:00:00:00:00:01\"";
    Kind::of_text(expected, |text| {
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|part| part.len() == 2)?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        let is_station = parts.next().is_none() && mac[0] & 1 == 0 && mac != [0; 6];
        is_station.then_some(mac)
    })
}

/// The name of a kernel interface (IFNAMSIZ is 16 with the NUL).
pub(crate) fn interface() -> Kind<String> {
    let expected = "the name of a network interface, 1 to 15 characters without space, '/' or ','";
    Kind::of_text(expected, |text| {
        let is_fit = |c: char| c.is_ascii_graphic() && !"/,:".contains(c);
        ((1..=15).contains(&text.len()) && text.chars().all(is_fit)).then(|| text.to_owned())
    })
}

/// A PCI address, or a virtual device with its arguments.
pub(crate) fn device() -> Kind<DeviceKind> {
    let expected = "a PCI address such as \"0000:03:00.0\", or a virtual device such as \"net_tap0,iface=tap0\"";
    Kind::of_text(expected, |text| {
        let is_virtual = text.starts_with("net_")
            && text.chars().all(|c| c.is_ascii_graphic())
            && !text.starts_with("net_,");
        if is_virtual {
            return Some(DeviceKind::Virtual(text.to_owned()));
        }
        is_pci_address(text).then(|| DeviceKind::Pci(text.to_owned()))
    })
}

/// `dddd:bb:dd.f`, in hexadecimal.
fn is_pci_address(text: &str) -> bool {
    let form = "xxxx:xx:xx.x";
    text.len() == form.len()
        && text.chars().zip(form.chars()).all(|(c, form)| match form {
            'x' => c.is_ascii_hexdigit(),
            _ => c == form,
        })
}

/// `N` bytes in hexadecimal.
pub(crate) fn hex<const N: usize>() -> Kind<[u8; N]> {
    let expected = format!("{N} bytes in hexadecimal ({} digits)", 2 * N);
    Kind::of_text(&expected, hex_bytes)
}

/// `N` bytes from their hexadecimal digits.
pub(crate) fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|n| n as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// A moment, as Unix seconds.
pub(crate) fn moment() -> Kind<u64> {
    let expected = "a moment after 1970 (RFC 3339), such as \"2026-07-01T00:00:00Z\"";
    Kind::new(expected, |value| {
        let moment = match value.as_datetime() {
            Some(moment) => *moment,
            None => value.as_str()?.parse().ok()?,
        };
        unix_seconds(&moment)
    })
}

/// Unix seconds of a moment that has an offset from UTC; fractions are cut off.
fn unix_seconds(moment: &Datetime) -> Option<u64> {
    let (date, time) = (moment.date?, moment.time?);
    let offset_minutes = match moment.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds = i64::from(time.hour) * 3_600
        + i64::from(time.minute) * 60
        + i64::from(time.second.unwrap_or(0))
        - offset_minutes * 60;
    let days = days_since_1970(date.year.into(), date.month.into(), date.day.into());
    u64::try_from(days * 86_400 + seconds).ok()
}

/// Days of the Gregorian calendar, counted in eras of 400 years that begin in March, so that the leap day is the last.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(kind: &Kind<T>, text: &str) -> Option<T> {
        let document = format!("v = {text}");
        let table = toml::de::DeTable::parse(&document).unwrap();
        kind.read(table.get_ref().get("v").unwrap().get_ref())
    }

    #[test]
    fn integers_keep_to_their_range_in_every_notation() {
        let kind = int(1_u16..=300);
        assert_eq!(read(&kind, "300"), Some(300));
        assert_eq!(read(&kind, "0x1_0"), Some(16));
        for wrong in ["0", "301", "-1", "1.0", "\"1\"", "9223372036854775807"] {
            assert_eq!(read(&kind, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn moments_are_unix_seconds() {
        let kind = moment();
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("\"1970-01-01T01:00:00+01:00\"", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-07-01T00:00:00.9Z", 1_782_864_000),
            ("\"9999-12-31T23:59:59Z\"", 253_402_300_799),
        ] {
            assert_eq!(read(&kind, text), Some(seconds), "{text}");
        }
        for wrong in [
            "1969-12-31T23:59:59Z",
            "2026-07-01",
            "2026-07-01T00:00:00",
            "7",
        ] {
            assert_eq!(read(&kind, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_prefixes_and_keys_are_checked() {
        assert!(read(&address(), "\"fd00::1\"").is_some());
        for wrong in ["\"::\"", "\"::1\"", "\"ff02::1\"", "\"10.0.0.1\"", "1"] {
            assert!(read(&address(), wrong).is_none(), "{wrong}");
        }
        assert!(read(&prefix(), "\"fd00::/64\"").is_some());
        for wrong in ["\"fd00::1/64\"", "\"fd00::/129\"", "\"fd00::\"", "\"/0\""] {
            assert!(read(&prefix(), wrong).is_none(), "{wrong}");
        }
        assert!(read(&service_prefix(), "\"fd00::/64\"").is_none());
        assert_eq!(
            read(&mac(), "\"02:00:00:00:0a:FF\""),
            Some([2, 0, 0, 0, 10, 255])
        );
        for wrong in [
            "\"03:00:00:00:00:00\"",
            "\"2:0:0:0:0:1\"",
            "\"02:00:00:00:00:00:00\"",
        ] {
            assert!(read(&mac(), wrong).is_none(), "{wrong}");
        }
        assert_eq!(read(&hex::<2>(), "\"0aF0\""), Some([0x0A, 0xF0]));
        for wrong in ["\"0a\"", "\"0aF0f0\"", "\"0x0a\"", "\"ääaa\""] {
            assert!(read(&hex::<2>(), wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn primes_are_told_from_products() {
        let kind = prime(2..=16_777_213);
        for prime in ["2", "3", "16381", "65537", "16777213"] {
            assert!(read(&kind, prime).is_some(), "{prime}");
        }
        for wrong in ["0", "1", "4", "16383", "16777211", "16777259"] {
            assert!(read(&kind, wrong).is_none(), "{wrong}");
        }
    }
}
