//! Domain events: a serde enum and one line.

use serde::{Serialize, de::DeserializeOwned};

use crate::{codec::decoder::Decoder, upcast::Upcasters};

/// A domain event: an enum in serde's default form, one variant for each type of event in a category.
///
/// The event type is the variant's serde name, the payload is the variant's content. Renaming a variant renames the
/// type: keep the old name with `#[serde(rename)]`, or teach [`upcasters`](Self::upcasters) about it.
///
/// ```
/// use es_core::{DomainEvent, Upcasters};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     Opened { owner: String },
///     Deposited { cents: i64 },
/// }
///
/// impl DomainEvent for AccountEvent {
///     const CATEGORY: &'static str = "account";
///
///     // Only where there are events of an older form:
///     fn upcasters() -> Upcasters<Self> {
///         Upcasters::none().rename("Credited", "Deposited")
///     }
/// }
/// ```
pub trait DomainEvent: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The category of the streams that hold these events.
    const CATEGORY: &'static str;

    /// How events of older forms become events of today.
    fn upcasters() -> Upcasters<Self> {
        Upcasters::none()
    }
}

/// What a view, projection or reactor listens to: a domain event enum, or an enum of one's own over several of them.
///
/// Every [`DomainEvent`] is one. For several categories, wrap them:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum AccountEvent { Opened {} }
/// # impl es_core::DomainEvent for AccountEvent { const CATEGORY: &'static str = "account"; }
/// # #[derive(Serialize, Deserialize)] enum CustomerEvent { Moved { to: String } }
/// # impl es_core::DomainEvent for CustomerEvent { const CATEGORY: &'static str = "customer"; }
/// use es_core::{Decoder, EventSet};
///
/// enum BankEvent {
///     Account(AccountEvent),
///     Customer(CustomerEvent),
/// }
///
/// impl EventSet for BankEvent {
///     fn decoder() -> Decoder<Self> {
///         Decoder::new().with(BankEvent::Account).with(BankEvent::Customer)
///     }
/// }
/// assert_eq!(BankEvent::decoder().filter().selectors().len(), 2);
/// ```
pub trait EventSet: Sized + Send + Sync + 'static {
    /// How stored events become values of this type, and which ones do. Built once by whoever reads, then kept.
    fn decoder() -> Decoder<Self>;
}

impl<E: DomainEvent> EventSet for E {
    fn decoder() -> Decoder<Self> {
        Decoder::new().with(|event: E| event)
    }
}
