//! Schedulers that run a job as an array of tasks, and which part of the job a task is.
//!
//! A task that failed is submitted again, often alone (`sbatch --array=2`). Its number is what it was, but all else that the
//! environment says of the array (how many tasks, the first, the last) is then said of the new submission. So where the number
//! of parts is given, the number of the task alone is the number of the part; where it is not, the environment has to show a
//! whole array.

use crate::error::{Error, Result};

/// A scheduler, by the environment variables that its documentation promises to each task of an array.
struct Scheduler {
    /// What it calls such a job.
    job: &'static str,
    /// The variable of the task's number.
    task: &'static str,
    /// What that variable holds in jobs that are no array, where it is set in these at all.
    no_task: &'static str,
    /// Whether every array is numbered from 0, so that the number of a task is one less than that of its part.
    always_from_zero: bool,
    /// The variables that describe the array as it was submitted, where there are any.
    array: Option<ArrayVariables>,
}

/// The variables for an array's lowest and highest number, the step between two numbers, and how many there are.
struct ArrayVariables {
    first: &'static str,
    last: &'static str,
    step: &'static str,
    /// Where there is none, the numbers are all those from the first to the last.
    count: Option<&'static str>,
}

const SCHEDULERS: [Scheduler; 6] = [
    Scheduler {
        job: "a Slurm array",
        task: "SLURM_ARRAY_TASK_ID",
        no_task: "",
        always_from_zero: false,
        array: Some(ArrayVariables {
            first: "SLURM_ARRAY_TASK_MIN",
            last: "SLURM_ARRAY_TASK_MAX",
            step: "SLURM_ARRAY_TASK_STEP",
            count: Some("SLURM_ARRAY_TASK_COUNT"),
        }),
    },
    Scheduler {
        job: "an indexed job of Kubernetes",
        task: "JOB_COMPLETION_INDEX",
        no_task: "",
        always_from_zero: true,
        array: None,
    },
    Scheduler { job: "a PBS array", task: "PBS_ARRAY_INDEX", no_task: "", always_from_zero: false, array: None },
    Scheduler { job: "a Torque array", task: "PBS_ARRAYID", no_task: "", always_from_zero: false, array: None },
    // LSB_JOBINDEX_END is the highest number that was submitted, which says nothing of those below it.
    Scheduler { job: "an LSF array", task: "LSB_JOBINDEX", no_task: "0", always_from_zero: false, array: None },
    Scheduler {
        job: "a Grid Engine array",
        task: "SGE_TASK_ID",
        no_task: "undefined",
        always_from_zero: false,
        array: Some(ArrayVariables {
            first: "SGE_TASK_FIRST",
            last: "SGE_TASK_LAST",
            step: "SGE_TASK_STEPSIZE",
            count: None,
        }),
    },
];

/// The part that the environment assigns to this process, from 1, and the number of parts, which is `of` if that is given.
///
/// # Errors
/// [`Error::Usage`] when the environment does not tell, or could mean several parts.
pub(super) fn assigned(of: Option<u32>, variable: impl Fn(&str) -> Option<String>) -> Result<(u32, u32)> {
    let is_in = |scheduler: &&Scheduler| {
        variable(scheduler.task).is_some_and(|text| !text.is_empty() && text != scheduler.no_task)
    };
    let mut present = SCHEDULERS.iter().filter(is_in);
    let Some(scheduler) = present.next() else { return Err(none_is_there(&variable)) };
    if let Some(other) = present.next() {
        return Err(refusal(
            of,
            &format!(
                "{} and {} are both set, and which of them numbers the parts is not known; name the part, as in --shard \"${}/8\"",
                scheduler.task, other.task, scheduler.task
            ),
        ));
    }
    match of {
        Some(of) => scheduler.part_of(of, &variable),
        None => scheduler.part_of_whole_array(&variable),
    }
}

impl Scheduler {
    /// The part, when the number of parts is given.
    fn part_of(&self, of: u32, variable: &impl Fn(&str) -> Option<String>) -> Result<(u32, u32)> {
        let task = self.task;
        let id = number(task, variable)?.unwrap_or_default();
        if self.always_from_zero {
            return match id.checked_add(1) {
                Some(index) if index <= of => Ok((index, of)),
                _ => Err(refusal(
                    Some(of),
                    &format!("{task} is {id}, which is not among the {of} parts; its tasks are 0 to {}", of - 1),
                )),
            };
        }
        let bound = |name: fn(&ArrayVariables) -> &'static str| match &self.array {
            Some(array) => number(name(array), variable),
            None => Ok(None),
        };
        let (first, last) = (bound(|array| array.first)?, bound(|array| array.last)?);
        if id == 0 || first == Some(0) {
            return Err(refusal(
                Some(of),
                &format!(
                    "the tasks are numbered from 0, and a task that is submitted again alone would pass for one of an array from 1; number them from 1, or write --shard \"$(({task} + 1))/{of}\""
                ),
            ));
        }
        let highest = last.map_or(id, |last| last.max(id));
        if highest > of {
            return Err(refusal(
                Some(of),
                &format!("there is a task {highest}, which is not among the {of} parts; its tasks are 1 to {of}"),
            ));
        }
        Ok((id, of))
    }

    /// The part, when the number of parts is that of the array's tasks.
    fn part_of_whole_array(&self, variable: &impl Fn(&str) -> Option<String>) -> Result<(u32, u32)> {
        let Some(array) = &self.array else {
            return Err(refusal(
                None,
                &format!(
                    "the environment of {} does not have the number of parts; name it, as in --shard auto/8",
                    self.job
                ),
            ));
        };
        let id = number(self.task, variable)?;
        let (first, last) = (number(array.first, variable)?, number(array.last, variable)?);
        let step = number(array.step, variable)?.unwrap_or(1);
        let span = first.zip(last).and_then(|(first, last)| last.checked_sub(first)?.checked_add(1));
        let count = match array.count {
            Some(name) => number(name, variable)?,
            None => span,
        };
        if let (Some(id), Some(first @ 0..=1), Some(last), Some(count @ 2..)) = (id, first, last, count)
            && (span, step) == (Some(count), 1)
            && (first..=last).contains(&id)
        {
            return Ok((id - first + 1, count));
        }
        let task = self.task;
        Err(refusal(
            None,
            &format!(
                "{}, {} and the like do not show a whole array of several tasks from 0 or 1, as after some of its tasks are submitted again; name the number of parts: --shard auto/8 where all tasks were numbered from 1, --shard \"$(({task} + 1))/8\" where from 0",
                array.first, array.last
            ),
        ))
    }
}

/// The number in a variable; `None` if it is not set.
fn number(name: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Option<u32>> {
    let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::Usage(format!("--shard auto: {name} is `{text}`, which is not a number")))
}

/// The error where no scheduler is known.
fn none_is_there(variable: &impl Fn(&str) -> Option<String>) -> Error {
    // The documentation of GNU parallel does not say that a job keeps its number when it is tried again.
    if variable("PARALLEL_SEQ").is_some() {
        return refusal(
            None,
            "GNU parallel does not assign parts; write them, as in `seq 8 | parallel … --shard {}/8`",
        );
    }
    let known: Vec<String> =
        SCHEDULERS.iter().map(|scheduler| format!("{} ({})", scheduler.task, scheduler.job)).collect();
    refusal(None, &format!("none of {} is set; name the part, as in --shard 2/8", known.join(", ")))
}

fn refusal(of: Option<u32>, problem: &str) -> Error {
    let of = of.map(|of| format!("/{of}")).unwrap_or_default();
    Error::Usage(format!("--shard auto{of}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(of: Option<u32>, variables: &[(&str, &str)]) -> std::result::Result<(u32, u32), String> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        assigned(of, find).map_err(|error| error.as_typed())
    }

    fn slurm<'a>(id: &'a str, min: &'a str, max: &'a str, count: &'a str) -> [(&'static str, &'a str); 5] {
        [
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_MIN", min),
            ("SLURM_ARRAY_TASK_MAX", max),
            ("SLURM_ARRAY_TASK_STEP", "1"),
            ("SLURM_ARRAY_TASK_COUNT", count),
        ]
    }

    fn grid_engine<'a>(id: &'a str, first: &'a str, last: &'a str, step: &'a str) -> [(&'static str, &'a str); 4] {
        [("SGE_TASK_ID", id), ("SGE_TASK_FIRST", first), ("SGE_TASK_LAST", last), ("SGE_TASK_STEPSIZE", step)]
    }

    #[test]
    fn a_whole_array_tells_its_parts() {
        assert_eq!(asked(None, &slurm("1", "1", "4", "4")), Ok((1, 4)));
        assert_eq!(asked(None, &slurm("3", "0", "3", "4")), Ok((4, 4)));
        assert_eq!(asked(None, &grid_engine("2", "1", "5", "1")), Ok((2, 5)));
    }

    #[test]
    fn tasks_that_are_submitted_again_are_not_a_whole_array() {
        let say = |asked: std::result::Result<(u32, u32), String>| asked.unwrap_err();
        for (id, min, max, count) in [
            ("2", "2", "2", "1"), // sbatch --array=2
            ("1", "1", "1", "1"), // sbatch --array=1
            ("0", "0", "0", "1"),
            ("2", "2", "4", "3"),
            ("1", "1", "4", "2"), // sbatch --array=1,4
            ("9", "1", "4", "4"),
        ] {
            let said = say(asked(None, &slurm(id, min, max, count)));
            assert!(said.contains("auto/8") && said.contains("$((SLURM_ARRAY_TASK_ID + 1))/8"), "{said}");
        }
        assert!(asked(None, &slurm("1", "1", "4", "4")[..1]).is_err(), "nothing is known of the array");
        assert!(asked(None, &grid_engine("3", "3", "3", "1")).is_err());
        assert!(asked(None, &grid_engine("1", "1", "7", "2")).is_err());
    }

    #[test]
    fn with_the_number_of_parts_a_task_is_the_same_part_however_it_is_submitted() {
        for (min, max, count) in [("1", "3", "3"), ("2", "2", "1"), ("2", "3", "2")] {
            assert_eq!(asked(Some(3), &slurm("2", min, max, count)), Ok((2, 3)));
        }
        for variables in [
            ("PBS_ARRAY_INDEX", "2"),
            ("PBS_ARRAYID", "2"),
            ("LSB_JOBINDEX", "2"),
            ("SGE_TASK_ID", "2"),
            ("SLURM_ARRAY_TASK_ID", "2"),
            ("JOB_COMPLETION_INDEX", "1"),
        ] {
            assert_eq!(asked(Some(3), &[variables]), Ok((2, 3)), "{variables:?}");
        }
        assert_eq!(asked(Some(8), &[("JOB_COMPLETION_INDEX", "0")]), Ok((1, 8)));
    }

    #[test]
    fn tasks_from_zero_are_not_taken_for_tasks_from_one() {
        for variables in [slurm("2", "0", "3", "4"), slurm("0", "0", "0", "1")] {
            let said = asked(Some(4), &variables).unwrap_err();
            assert!(said.contains("--shard \"$((SLURM_ARRAY_TASK_ID + 1))/4\""), "{said}");
        }
        assert!(asked(Some(4), &[("PBS_ARRAY_INDEX", "0")]).unwrap_err().contains("$((PBS_ARRAY_INDEX + 1))/4"));
    }

    #[test]
    fn what_does_not_tell_a_part_is_refused_with_the_way_out() {
        for (of, variables, says) in [
            (None, &[("JOB_COMPLETION_INDEX", "0")][..], "auto/8"),
            (None, &[("PBS_ARRAY_INDEX", "1")], "auto/8"),
            (None, &[("LSB_JOBINDEX", "1"), ("LSB_JOBINDEX_END", "4")], "auto/8"),
            (None, &[], "SLURM_ARRAY_TASK_ID"),
            (None, &[("SGE_TASK_ID", "undefined")], "--shard 2/8"),
            (Some(4), &[("LSB_JOBINDEX", "0")], "--shard 2/8"),
            (Some(4), &[("PARALLEL_SEQ", "1")], "--shard {}/8"),
            (Some(2), &[("JOB_COMPLETION_INDEX", "2")], "not among the 2 parts"),
            (Some(2), &[("PBS_ARRAYID", "3")], "not among the 2 parts"),
            (Some(2), &slurm("1", "1", "4", "4"), "not among the 2 parts"),
            (Some(2), &[("SLURM_ARRAY_TASK_ID", "1"), ("PBS_ARRAYID", "1")], "both set"),
            (Some(2), &[("SLURM_ARRAY_TASK_ID", "x")], "`x`"),
        ] {
            let said = asked(of, variables).unwrap_err();
            assert!(said.contains(says), "{variables:?}: {said}");
        }
    }
}
