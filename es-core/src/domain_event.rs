//! Domain events: a serde enum and one line of code.

use serde::{Serialize, de::DeserializeOwned};

use crate::{codec::decoder::Decoder, upcast::Upcasters};

/// A domain event: an enum in serde's default form, with one variant for each event type of a category.
///
/// The event type is the serde name of the variant, and the payload is the content of the variant. Renaming a variant
/// renames the type. Keep the old name with `#[serde(rename)]`, or add a rule to the [`upcasters`](Self::upcasters).
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
///     // Only needed if there are events of an older form:
///     fn upcasters() -> Upcasters<Self> {
///         Upcasters::none().rename("Credited", "Deposited")
///     }
/// }
/// ```
pub trait DomainEvent: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The category of the streams that hold these events.
    const CATEGORY: &'static str;

    /// The version of the form in which events are written. Events store it in their metadata, unless it is 1.
    ///
    /// Increase it when an event changes in a way that its payload does not show, such as another unit or another
    /// meaning. Read the older events with [`Upcasters::before`].
    const SCHEMA_VERSION: u32 = 1;

    /// How much of the category the enum covers: every type, or deliberately only some of them.
    const COVERAGE: Coverage = Coverage::Whole;

    /// Returns the rules that convert older forms of events to the current one.
    fn upcasters() -> Upcasters<Self> {
        Upcasters::none()
    }
}

/// How much of its category an event enum covers. This determines what happens with a type that the enum does not know.
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
    /// The enum covers every type of the category. A type that it does not know was written by newer code. A consumer
    /// does not move past an event of such a type, so that the newer code receives the event.
    #[default]
    Whole,
    /// The enum deliberately covers only some types. Events of other types are not read, and a consumer moves past
    /// them. If newer code adds a type to the enum, it does not receive the events of that type that older code has
    /// moved past.
    Part,
}

/// The events that a view, projection, or reactor receives: a domain event enum, or an enum of your own over several of
/// them.
///
/// Every [`DomainEvent`] is an event set. To combine several categories, wrap them:
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
    /// Returns the decoder for these events. It defines which stored events become values of this type, and how. The
    /// reader builds it once and keeps it.
    fn decoder() -> Decoder<Self>;
}

impl<E: DomainEvent> EventSet for E {
    fn decoder() -> Decoder<Self> {
        Decoder::new().with(|event: E| event)
    }
}
