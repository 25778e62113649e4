//! What of this process's environment its children are started with. Both roles get the same one, and a
//! variable that configures one role is a mistake to the other, which refuses keys that it doesn't know.

use std::ffi::OsString;

use super::plan::{Plan, Process};
use crate::settings::{self, Role};

/// How many arenas glibc's allocator makes.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// What a process of that role is started with besides this one's own environment. A JobManager's many
/// threads would each hold memory back that is free; two arenas are a tenth less in all, and no slower. The
/// units in `deploy/` say the same.
pub(super) fn more(role: Role) -> Option<(&'static str, &'static str)> {
    let unsaid = std::env::var_os(ARENAS).is_none();
    (role == Role::JobManager && unsaid).then_some((ARENAS, "2"))
}

/// The variables that a process of that role is started without: it refuses them, and the other role takes
/// them. One that both refuse stays, and is told as the mistake that it is.
pub(super) fn without(
    plan: &Plan,
    role: Role,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<OsString> {
    let other = match role {
        Role::JobManager => Role::TaskManager,
        Role::TaskManager => Role::JobManager,
    };
    let Some((own, other)) = plan.of(role).next().zip(plan.of(other).next()) else {
        return Vec::new();
    };
    let only_others = |one: &(OsString, OsString)| !takes(own, one) && takes(other, one);
    let names = variables.filter(only_others).map(|(name, _)| name);
    names.collect()
}

fn takes(process: &Process, (name, value): &(OsString, OsString)) -> bool {
    let one = std::iter::once((name.clone(), value.clone()));
    let Ok(over) = settings::environment(one) else {
        return false;
    };
    match process.role {
        Role::JobManager => settings::jobmanager(&process.config, &over).is_ok(),
        Role::TaskManager => settings::taskmanager(&process.config, &over).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::plan::Shape;

    #[test]
    fn each_role_is_started_without_what_configures_only_the_other() {
        let home = tempfile::tempdir().unwrap();
        let shape = Shape {
            jobmanagers: 1,
            taskmanagers: 1,
            slots: 4,
            base_port: 7100,
        };
        let plan = Plan::new(home.path(), &shape, home.path()).unwrap();
        for process in &plan.processes {
            std::fs::create_dir_all(process.config.parent().unwrap()).unwrap();
            std::fs::write(&process.config, &process.config_text).unwrap();
        }
        let without = |role| {
            let variables = [
                ("REGENT_RESULTS__MAX_COUNT", "10"),
                ("REGENT_SLOT_MEMORY__", "x"),
                ("REGENT__SLOT_MEMORY", "1GiB"),
                ("REGENT__NO_SUCH_KEY", "1"),
                ("REGENT_LOG", "debug"),
                ("PATH", "/bin"),
            ];
            let variables = variables.map(|(name, value)| (name.into(), value.into()));
            super::without(&plan, role, variables.into_iter())
        };
        assert_eq!(without(Role::TaskManager), ["REGENT_RESULTS__MAX_COUNT"]);
        assert_eq!(without(Role::JobManager), ["REGENT__SLOT_MEMORY"]);
    }
}
