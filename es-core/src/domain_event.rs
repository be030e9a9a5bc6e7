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

    /// The version of the form in which events are written. Events keep it in their metadata, unless it is 1. Raise it
    /// when an event changes in a way that its payload does not show (another unit, another meaning), and read the
    /// older ones by [`Upcasters::before`].
    const SCHEMA_VERSION: u32 = 1;

    /// How much of the category the enum knows: every type, or deliberately some of them.
    const COVERAGE: Coverage = Coverage::Whole;

    /// How events of older forms become events of today.
    fn upcasters() -> Upcasters<Self> {
        Upcasters::none()
    }
}

/// How much of its category an event enum knows, and so what a type means that it does not know.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use es_core::{Coverage, Decoder, DomainEvent, EventFilter};
///
/// /// All that a mailer needs of an order.
/// #[derive(Serialize, Deserialize)]
/// enum Paid { Paid { cents: i64 } }
/// impl DomainEvent for Paid {
///     const CATEGORY: &'static str = "order";
///     const COVERAGE: Coverage = Coverage::Part;
/// }
/// let decoder = Decoder::new().with(|event: Paid| event);
/// assert_eq!(decoder.filter(), &EventFilter::all().or_type("order", "Paid"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// Every type of the category. A type that the enum does not know was written by newer code. A consumer that meets
    /// one does not move past it, so that the newer code receives the event.
    #[default]
    Whole,
    /// Only some types, on purpose. Events of other types are not read, and a consumer moves past them. Newer code that
    /// adds a type to the enum does not receive the events of that type which older code has moved past.
    Part,
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
