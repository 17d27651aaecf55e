//! How programs of each language are run. Python is the interpreter of `--python`; every other
//! language is a file name and one or two commands for bash, built in or configured.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::LanguageConfig;

/// A language of the contract, by its place in [`LANGUAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Language(u8);

impl Language {
    pub(crate) const PYTHON: Self = Self(0);

    pub(crate) fn name(self) -> &'static str {
        LANGUAGES[usize::from(self.0)].0
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        LANGUAGES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, language)| *language)
    }
}

/// In the order in which errors list them.
pub(crate) const LANGUAGES: [(&str, Language); 29] = {
    const NAMES: [&str; 29] = [
        "python",
        "cpp",
        "nodejs",
        "go",
        "go_test",
        "java",
        "php",
        "csharp",
        "bash",
        "typescript",
        "sql",
        "rust",
        "cuda",
        "lua",
        "R",
        "perl",
        "D_ut",
        "ruby",
        "scala",
        "julia",
        "pytest",
        "junit",
        "kotlin_script",
        "jest",
        "verilog",
        "python_gpu",
        "lean",
        "swift",
        "racket",
    ];
    let mut all = [("", Language(0)); 29];
    let mut index = 0;
    while index < all.len() {
        all[index] = (NAMES[index], Language(index as u8));
        index += 1;
    }
    all
};

/// Whether the contract knows this language.
pub(crate) fn is_language(name: &str) -> bool {
    Language::named(name).is_some()
}

/// The languages that are run by commands.
pub(crate) struct Languages(BTreeMap<String, LanguageConfig>);

impl Languages {
    /// The built-in ones under those of the configuration.
    pub(crate) fn new(configured: &BTreeMap<String, LanguageConfig>) -> Self {
        let mut all = built_in();
        all.extend(configured.clone());
        Self(all)
    }

    /// How programs of `language` are run; `None` where nobody said.
    pub(crate) fn get(&self, language: Language) -> Option<&LanguageConfig> {
        self.0.get(language.name())
    }

    /// What their tools need to see of this host, as far as it is there.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self
            .0
            .values()
            .flat_map(|language| &language.paths)
            .filter(|path| path.exists())
            .cloned()
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

/// Languages whose tools take one file. A tool that is not there answers as bash does: exit code
/// 127 and `command not found`. What needs a project around the file (junit, jest, csharp, lean,
/// cuda, …) has to be configured.
fn built_in() -> BTreeMap<String, LanguageConfig> {
    let script = |file: &str, run: &str| LanguageConfig {
        file: file.into(),
        run: run.into(),
        ..LanguageConfig::default()
    };
    let compiled = |file: &str, compile: &str, artifact: &str, run: &str| LanguageConfig {
        file: file.into(),
        compile: Some(compile.into()),
        run: run.into(),
        artifacts: vec![artifact.into()],
        ..LanguageConfig::default()
    };
    let with_paths = |language: LanguageConfig, paths: &[&str]| LanguageConfig {
        paths: paths.iter().map(PathBuf::from).collect(),
        ..language
    };
    // Runtimes that reserve address space by the gigabyte and use little of it.
    let reserving = |language: LanguageConfig| LanguageConfig {
        more_memory_mib: 64 * 1024,
        ..language
    };
    let home = |mut language: LanguageConfig, name: &str| {
        language.env.insert(name.into(), "/tmp".into());
        language
    };
    let all = [
        ("bash", script("main.sh", "/bin/bash main.sh")),
        (
            "cpp",
            with_paths(
                compiled(
                    "main.cpp",
                    "g++ -std=c++17 main.cpp -o test",
                    "test",
                    "./test",
                ),
                &["/usr/include", "/usr/local/include"],
            ),
        ),
        (
            "rust",
            compiled("main.rs", "rustc main.rs -o test", "test", "./test"),
        ),
        (
            "go",
            home(
                with_paths(
                    reserving(compiled(
                        "main.go",
                        "go build -o test main.go",
                        "test",
                        "./test",
                    )),
                    &["/usr/local/go", "/usr/share/go", "/usr/include"],
                ),
                "GOCACHE",
            ),
        ),
        (
            "java",
            reserving(with_paths(
                compiled(
                    "Main.java",
                    "javac -d classes Main.java && jar cf main.jar -C classes .",
                    "main.jar",
                    "java -ea -cp main.jar Main",
                ),
                &["/etc/java-17-openjdk", "/etc/java-21-openjdk", "/opt/java"],
            )),
        ),
        (
            "nodejs",
            reserving(with_paths(
                script("main.js", "node main.js"),
                &["/usr/share/nodejs", "/usr/local/lib/node_modules"],
            )),
        ),
        (
            "typescript",
            reserving(with_paths(
                script("main.ts", "tsx main.ts"),
                &["/usr/share/nodejs", "/usr/local/lib/node_modules"],
            )),
        ),
        ("php", script("main.php", "php -f main.php")),
        ("lua", script("main.lua", "lua main.lua")),
        (
            "perl",
            with_paths(
                script("main.pl", "perl main.pl"),
                &["/usr/share/perl", "/usr/share/perl5"],
            ),
        ),
        (
            "ruby",
            with_paths(
                script("main.rb", "ruby main.rb"),
                &["/usr/share/rubygems-integration"],
            ),
        ),
        (
            "R",
            with_paths(
                script("main.R", "Rscript main.R"),
                &["/usr/share/R", "/etc/R"],
            ),
        ),
        ("julia", reserving(script("main.jl", "julia main.jl"))),
        (
            "racket",
            with_paths(
                script("main.rkt", "racket main.rkt"),
                &["/usr/share/racket"],
            ),
        ),
        ("scala", reserving(script("main.scala", "scala main.scala"))),
        (
            "swift",
            compiled("main.swift", "swiftc main.swift -o test", "test", "./test"),
        ),
        (
            "D_ut",
            compiled("main.d", "dmd -unittest main.d -of=test", "test", "./test"),
        ),
        (
            "kotlin_script",
            reserving(script("main.kts", "kotlinc -script main.kts")),
        ),
        (
            "go_test",
            home(
                with_paths(
                    reserving(script("main_test.go", "go test main_test.go")),
                    &["/usr/local/go", "/usr/share/go", "/usr/include"],
                ),
                "GOCACHE",
            ),
        ),
    ];
    all.into_iter()
        .map(|(name, language)| (name.to_owned(), language))
        .collect()
}
