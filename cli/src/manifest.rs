//! `codejury dataset manifest`: which problems a dataset holds, written down or compared.

use ::eval::{DatasetSpec, compare_manifest, write_manifest};

use crate::dataset;
use crate::eval_args::ManifestArgs;
use crate::exit::ExitCode;
use crate::output::{inline, print, say};
use crate::summary::counted;

pub(crate) fn run(args: &ManifestArgs) -> anyhow::Result<ExitCode> {
    let dataset = dataset::open(DatasetSpec {
        slug: args.name.clone(),
        ..args.reading.spec(args.files.clone())
    })?;
    let Some(manifest) = &args.check else {
        let written = write_manifest(&dataset, &args.to, args.exclude_list)?;
        let shown = |path: &std::path::Path| inline(&path.display().to_string()).into_owned();
        say(format!(
            "{} in {} and {}\n",
            counted(written.count, "problem"),
            shown(&written.rows),
            shown(&written.meta)
        ));
        if let Some(path) = &written.exclude_list {
            say(format!("ids to keep out of training: {}\n", shown(path)));
        }
        return Ok(ExitCode::Done);
    };
    let differences = compare_manifest(&dataset, manifest)?;
    for difference in &differences {
        print(format!("{}\n", inline(difference)))?;
    }
    say(format!(
        "{} from {}\n",
        counted(differences.len() as u64, "difference"),
        inline(&manifest.display().to_string())
    ));
    Ok(match differences.is_empty() {
        true => ExitCode::Done,
        false => ExitCode::CheckFailed,
    })
}
