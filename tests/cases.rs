//! Runs the text cases in `tests/cases` against a real Postfix with the milter attached.

mod lab;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lab::case_run::Sites;
use lab::site::Site;
use lab::{case_file, case_run, namespace};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A case mostly waits: for deliveries, and for one that is tried again.
    arguments.test_threads.get_or_insert(8);
    if !arguments.list
        && let Err(error) = namespace::enter()
    {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let sites = Arc::new(Sites::default());
    let trials = match trials(&sites) {
        Ok(trials) => trials,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One test for each file.
fn trials(sites: &Arc<Sites>) -> std::io::Result<Vec<Trial>> {
    let files = case_file::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))?;
    let trial = |file: std::path::PathBuf| {
        let (name, sites) = (file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), sites.clone());
        let token = name.clone();
        Trial::test(name, move || {
            let case = case_file::read(&file)?;
            let check = |site: &Site| case_run::run(site, &token, &case)?.check(&case);
            sites.with(&case.site, check).map_err(Failed::from)
        })
    };
    Ok(files.into_iter().map(trial).collect())
}
