//! The former names of renamed types. They will be removed with the first tag.

use crate::{
    control_store::{CheckpointOverride, Suspension, SuspensionKind},
    generation_store::ReadModelDefinition,
    operation::OperatorRequest,
    view::DocumentAction,
};

/// The former name of [`DocumentAction`].
#[deprecated(since = "0.1.0", note = "renamed to `DocumentAction`")]
pub type Fate = DocumentAction;

/// The former name of [`OperatorRequest`].
#[deprecated(since = "0.1.0", note = "renamed to `OperatorRequest`")]
pub type Order = OperatorRequest;

/// The former name of [`Suspension`].
#[deprecated(since = "0.1.0", note = "renamed to `Suspension`")]
pub type Hold = Suspension;

/// The former name of [`SuspensionKind`].
#[deprecated(since = "0.1.0", note = "renamed to `SuspensionKind`")]
pub type HoldKind = SuspensionKind;

/// The former name of [`CheckpointOverride`].
#[deprecated(since = "0.1.0", note = "renamed to `CheckpointOverride`")]
pub type HandMove = CheckpointOverride;

/// The former name of [`ReadModelDefinition`].
#[deprecated(since = "0.1.0", note = "renamed to `ReadModelDefinition`")]
pub type ReadModelCode = ReadModelDefinition;
