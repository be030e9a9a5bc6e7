//! Amounts of money, exact to the cent.

use std::{
    fmt,
    ops::{AddAssign, SubAssign},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// An amount of money in cents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money {
    cents: i64,
}

impl Money {
    pub const ZERO: Self = Self { cents: 0 };

    pub const fn from_cents(cents: i64) -> Self {
        Self { cents }
    }

    pub const fn cents(self) -> i64 {
        self.cents
    }
}

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no amount: write it with two decimals, as in 1234.50")]
pub struct NotMoney(String);

impl FromStr for Money {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let parse = || {
            let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
            let (whole, decimals) = digits.split_once('.')?;
            let only_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !only_digits(whole) || !only_digits(decimals) || decimals.len() != 2 {
                return None;
            }
            let cents = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(decimals.parse().ok()?)?;
            Some(Self { cents: sign * cents })
        };
        parse().ok_or_else(|| NotMoney(text.to_owned()))
    }
}

impl fmt::Display for Money {
    /// Groups the digits by thousands: `1 234 567.89`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, cents) = (self.cents.unsigned_abs() / 100, self.cents.unsigned_abs() % 100);
        let digits = whole.to_string();
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.char_indices() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        let sign = if self.cents < 0 { "-" } else { "" };
        f.pad(&format!("{sign}{grouped}.{cents:02}"))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        self.cents += other.cents;
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Self) {
        self.cents -= other.cents;
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self::from_cents(amounts.map(Self::cents).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_shown_to_the_cent() {
        for (text, cents, shown) in
            [("700.00", 70_000, "700.00"), ("-1234567.05", -123_456_705, "-1 234 567.05"), ("0.09", 9, "0.09")]
        {
            let money: Money = text.parse().unwrap();
            assert_eq!((money.cents(), money.to_string().as_str()), (cents, shown));
        }
    }

    #[test]
    fn what_is_not_an_exact_amount_is_refused() {
        for text in ["", "1", "1.", "1.5", "1.500", "1,50", "+1.00", "--1.00", "x.00", "99999999999999999999.00"] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }
}
