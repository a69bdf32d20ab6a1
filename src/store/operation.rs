//! What surrounds every operation of a store: its name, its time, the error it ends in.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use super::Error;
use crate::telemetry::metrics::Metrics;

/// What an operation is called in metrics, and in messages.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Value of the label `operation`.
    pub label: &'static str,
    /// A verb phrase: "the store failed to …".
    pub doing: &'static str,
}

/// What goes wrong below an operation, which is not named yet.
pub enum Fault {
    /// The driver.
    Sql(sqlx::Error),
    /// Anything that is complete as it is.
    Store(Error),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Where operations are counted, and which store they are of.
pub struct Book {
    /// Path or URL without secrets.
    pub place: Arc<str>,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
}

impl Book {
    /// Does `work`, counts and times it, and names it in its error.
    pub async fn timed<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let result = work.await.map_err(|fault| match fault {
            Fault::Store(error) => error,
            Fault::Sql(source) => {
                Error::Database { operation: operation.doing, place: self.place.clone(), source }
            }
        });
        // A stale lease is an answer: the store did its duty.
        let counted = match &result {
            Ok(_) | Err(Error::StaleLease { .. }) => "ok",
            Err(_) => "error",
        };
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.store_operations.with_label_values(&[operation.label, counted]).inc();
        self.metrics.store_operation_seconds.with_label_values(&[operation.label]).observe(seconds);
        result
    }
}
