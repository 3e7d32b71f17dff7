//! The cost of jobs: engine time and money, in integers, so that sums are exact.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::serde_as_text::serde_as_text;

/// The end of the text of a price per image.
const PER_IMAGE: &str = "/image";

/// A currency: its ISO 4217 code in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl FromStr for Currency {
    type Err = InvalidAmount;

    /// Parses three letters in upper or lower case.
    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_alphabetic) => {
                Ok(Self(letters.map(|letter| letter.to_ascii_lowercase())))
            }
            _ => Err(InvalidAmount(text.to_owned())),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// The text is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid amount `{0}`: write a number with up to six decimals and a currency, for example `0.25eur`")]
pub struct InvalidAmount(pub(crate) String);

/// An amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount {
    /// Millionths of the currency's main unit.
    pub micros: u64,
    /// The currency.
    pub currency: Currency,
}

impl FromStr for Amount {
    type Err = InvalidAmount;

    /// Parses texts such as `5usd` and `0.25eur`.
    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let invalid = || InvalidAmount(text.to_owned());
        let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(invalid)?;
        let currency = text[split..].parse().map_err(|_| invalid())?;
        let micros = parse_decimal(&text[..split], 6).ok_or_else(invalid)?;
        Ok(Self { micros, currency })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.micros, 6)?;
        self.currency.fmt(f)
    }
}

/// The price of generated images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Of one second of engine time: `0.0005usd`.
    PerSecond(Amount),
    /// Of one image: `0.02usd/image`.
    PerImage(Amount),
}

/// The text is not a price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid price `{0}`: write an amount for one second of engine time, for example `0.0005usd`, or for one image, \
     for example `0.02usd/image`"
)]
pub struct InvalidPrice(String);

impl Price {
    /// The amount for one second or one image.
    pub fn amount(self) -> Amount {
        match self {
            Self::PerSecond(amount) | Self::PerImage(amount) => amount,
        }
    }
}

impl FromStr for Price {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let price = match text.strip_suffix(PER_IMAGE) {
            Some(amount) => amount.parse().map(Self::PerImage),
            None => text.parse().map(Self::PerSecond),
        };
        price.map_err(|InvalidAmount(_)| InvalidPrice(text.to_owned()))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.amount().fmt(f)?;
        match self {
            Self::PerSecond(_) => Ok(()),
            Self::PerImage(_) => f.write_str(PER_IMAGE),
        }
    }
}

serde_as_text!(Currency, Amount, Price);

/// Parses a decimal number with at most `places` decimals and scales it to an integer: `1.5` with 3 places is
/// 1500.
pub(crate) fn parse_decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > places {
        return None;
    }
    let unit = 10u64.pow(places as u32);
    let fraction: u64 = format!("{fraction:0<places$}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(fraction)
}

/// Formats a number that [`parse_decimal`] parses, without trailing zeros.
pub(crate) fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, places: usize) -> fmt::Result {
    let unit = 10u64.pow(places as u32);
    write!(f, "{}", value / unit)?;
    match value % unit {
        0 => Ok(()),
        rest => write!(f, ".{}", format!("{rest:0places$}").trim_end_matches('0')),
    }
}

/// The cost of one job: reserved before the job runs, charged when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Engine time in milliseconds.
    pub engine_ms: u64,
    /// Money; `None` if engine time has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
}

impl Spend {
    /// No cost, as for a stored image or a job that was canceled before it started.
    pub const ZERO: Self = Self { engine_ms: 0, amount: None };

    /// The cost of `engine_ms` milliseconds at the same price, rounded up, and at most the whole cost.
    pub fn prorated(self, engine_ms: u64) -> Self {
        let engine_ms = engine_ms.min(self.engine_ms);
        let amount = self.amount.map(|whole| {
            let micros =
                (u128::from(whole.micros) * u128::from(engine_ms)).div_ceil(self.engine_ms.max(1).into());
            Amount { micros: u64::try_from(micros).unwrap_or(whole.micros), ..whole }
        });
        Self { engine_ms, amount }
    }
}

/// The sum of several [`Spend`]s, with one sum per currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Engine time in milliseconds.
    #[serde(default)]
    pub engine_ms: u64,
    /// Millionths of the main unit, by currency.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub money: BTreeMap<Currency, u64>,
}

impl Totals {
    /// The sum in this currency, in millionths of its main unit.
    pub fn micros(&self, currency: Currency) -> u64 {
        self.money.get(&currency).copied().unwrap_or(0)
    }

    /// True if all sums are zero.
    pub fn is_zero(&self) -> bool {
        self.engine_ms == 0 && self.money.values().all(|micros| *micros == 0)
    }

    /// Adds a cost. The sums stop at the largest number.
    pub fn add(&mut self, spend: &Spend) {
        self.engine_ms = self.engine_ms.saturating_add(spend.engine_ms);
        if let Some(amount) = spend.amount.filter(|amount| amount.micros > 0) {
            let micros = self.money.entry(amount.currency).or_default();
            *micros = micros.saturating_add(amount.micros);
        }
    }

    /// Subtracts a cost. The sums stop at zero.
    pub fn subtract(&mut self, spend: &Spend) {
        self.engine_ms = self.engine_ms.saturating_sub(spend.engine_ms);
        if let Some(amount) = spend.amount {
            let left = self.micros(amount.currency).saturating_sub(amount.micros);
            if left == 0 {
                self.money.remove(&amount.currency);
            } else {
                self.money.insert(amount.currency, left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written() {
        for (text, micros) in
            [("5usd", 5_000_000), ("0.25eur", 250_000), ("0.000001jpy", 1), ("12.5usd", 12_500_000)]
        {
            let amount: Amount = text.parse().expect(text);
            assert_eq!((amount.micros, amount.to_string().as_str()), (micros, text));
        }
        assert_eq!("5USD".parse::<Amount>().expect("upper case").to_string(), "5usd");
        for bad in [
            "",
            "5",
            "usd",
            "5us",
            "5usdx",
            "-5usd",
            "5.usd",
            ".5usd",
            "0.0000001usd",
            "1e3usd",
            "99999999999999usd",
        ] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prices_are_read_and_written() {
        let price = |text: &str| text.parse::<Price>();
        let amount = |text: &str| text.parse::<Amount>().expect("an amount");
        assert_eq!(price("0.0005usd"), Ok(Price::PerSecond(amount("0.0005usd"))));
        assert_eq!(price("0.02USD/image"), Ok(Price::PerImage(amount("0.02usd"))));
        for text in ["0.0005usd", "0.02usd/image", "0usd/image"] {
            assert_eq!(price(text).expect(text).to_string(), text);
        }
        for text in
            ["", "/image", "0.02/image", "0.02usd/", "0.02usd/day", "0.02usd/images", "0.02usd/image/image"]
        {
            assert_eq!(price(text), Err(InvalidPrice(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn currencies_are_summed_separately() {
        let spend = |text: &str| Spend { engine_ms: 10, amount: Some(text.parse().expect("an amount")) };
        let mut totals = Totals::default();
        totals.add(&spend("1usd"));
        totals.add(&spend("2eur"));
        assert_eq!(totals.micros("usd".parse().expect("usd")), 1_000_000);
        totals.subtract(&spend("1usd"));
        totals.subtract(&spend("2eur"));
        assert_eq!(totals, Totals::default());
    }

    #[test]
    fn a_prorated_cost_is_rounded_up_and_at_most_the_whole() {
        let all = Spend { engine_ms: 3_000, amount: "0.01usd".parse().ok() };
        assert_eq!(all.prorated(0), Spend { engine_ms: 0, amount: "0usd".parse().ok() });
        assert_eq!(all.prorated(1_000), Spend { engine_ms: 1_000, amount: "0.003334usd".parse().ok() });
        assert_eq!(all.prorated(u64::MAX), all);
        assert_eq!(Spend::ZERO.prorated(5), Spend::ZERO);
    }
}
