//! Whose code runs: what is said when it panics names the vertex and not this program.

use std::future::Future;

tokio::task_local! {
    static TASK: String;
}

/// Runs a task of the user's code, under this name.
pub(crate) async fn within<F: Future>(name: Option<String>, task: F) -> F::Output {
    match name {
        Some(name) => TASK.scope(name, task).await,
        None => task.await,
    }
}

/// The task of one's own code that runs on this thread at this moment, such as
/// `enriched/0 (operator enrich)`.
#[must_use]
pub fn blamed() -> Option<String> {
    TASK.try_with(Clone::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_users_tasks_have_a_name() {
        assert_eq!(blamed(), None);
        let named = within(Some("v/0".to_owned()), async { blamed() }).await;
        assert_eq!(named.as_deref(), Some("v/0"));
        assert_eq!(within(None, async { blamed() }).await, None);
    }
}
