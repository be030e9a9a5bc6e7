//! Waiting for the delivery reports of a batch.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::Notify;

use crate::client::{Said, log};

/// A batch on its way.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    reports: Mutex<Reports>,
    complete: Notify,
}

#[derive(Debug, Default)]
struct Reports {
    /// Of each message that was handed over: its report.
    of: Vec<Option<Result<(), Code>>>,
    missing: usize,
}

/// One message of a batch, handed over to librdkafka.
#[derive(Debug)]
pub(crate) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

impl Batch {
    pub(crate) fn new(messages: usize) -> Arc<Self> {
        let reports = Reports { of: vec![None; messages], missing: 0 };
        Arc::new(Self { reports: Mutex::new(reports), complete: Notify::new() })
    }

    /// For the message of this index, which is to be handed over.
    pub(crate) fn ticket(self: &Arc<Self>, index: usize) -> Box<Ticket> {
        self.lock().missing += 1;
        Box::new(Ticket { batch: self.clone(), index })
    }

    /// Waits until there is a report of each message that was handed over.
    pub(crate) async fn wait(&self) {
        loop {
            let notified = self.complete.notified();
            if self.lock().missing == 0 {
                return;
            }
            notified.await;
        }
    }

    /// What was reported of a message; `None` if nothing was.
    pub(crate) fn report(&self, index: usize) -> Option<Result<(), Code>> {
        self.lock().of.get(index).copied().flatten()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    pub(crate) fn report(self, report: Result<(), Code>) {
        let mut reports = self.batch.lock();
        if let Some(place) = reports.of.get_mut(self.index) {
            *place = Some(report);
        }
        reports.missing -= 1;
        if reports.missing == 0 {
            // At most one waits, and it may be about to.
            self.batch.complete.notify_one();
        }
    }
}

/// A producer that gives each report to its batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporting {
    pub(crate) said: Said,
}

impl ClientContext for Reporting {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.said.note(&error, reason);
    }
}

impl ProducerContext for Reporting {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let report = match result {
            Ok(_) => Ok(()),
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                tracing::debug!(%code, topic = message.topic(), "not delivered");
                Err(code)
            }
        };
        if report.is_ok() {
            self.said.forget();
        }
        ticket.report(report);
    }
}
