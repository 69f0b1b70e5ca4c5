use super::*;
use clap::Parser;
use std::fs;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: DemoArgs,
}

fn args(words: &[&str]) -> DemoArgs {
    Cli::try_parse_from(std::iter::once("demo").chain(words.iter().copied())).unwrap().args
}

fn error(words: &[&str]) -> String {
    load(&args(words)).unwrap_err().to_string()
}

/// A folder of files that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("ampacity-load-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const BUDGET: &str = "apiVersion: ampacity.dev/v1alpha1\nkind: PowerBudget\nmetadata: {name: small}\nspec:\n  \
                      limitWatts: 1M\n  policy: {mode: Active}\n";
const PRICES: &str = "time,usd\n2024-07-01T00:00Z,10\n2024-07-01T12:00Z,20\n2024-07-02T00:00Z,-30\n";

fn text(at: Time) -> String {
    stamp(at).to_string()
}

#[test]
fn without_a_site_the_built_in_day_is_run_from_midnight_to_midnight() {
    let loaded = load(&args(&[])).unwrap();
    assert_eq!(loaded.site, "high-plains");
    let nodes = ["", "/hall-a", "/hall-b", "/row-1", "/row-2", "/tenant-hall"].map(|n| format!("high-plains{n}"));
    assert_eq!(loaded.nodes, nodes);
    assert_eq!(
        (text(loaded.spec.start), text(loaded.until)),
        ("2026-07-15T00:00:00Z".into(), "2026-07-16T00:00:00Z".into())
    );
    assert_eq!((loaded.spec.mishaps, loaded.spec.rates), (Mishaps::Usual, Rates::USUAL));
    assert!(loaded.spec.prices.unwrap().span().unwrap().1 >= loaded.until);
}

#[test]
fn faults_none_leaves_people_and_takes_what_breaks() {
    let whats = |faults: &str| {
        let loaded = load(&args(&["--faults", faults])).unwrap();
        let broken = loaded.spec.script.iter().filter(|(_, what)| what.is_fault()).count();
        (loaded.spec.script.len() - broken, broken, loaded.spec.mishaps)
    };
    assert_eq!(whats("none"), (6, 0, Mishaps::None));
    assert_eq!(whats("default"), (6, 4, Mishaps::Usual));
    assert_eq!(whats("chaos"), (6, 4, Mishaps::Chaos));
}

#[test]
fn a_folder_is_read_in_the_order_of_names_and_a_site_of_ones_own_has_no_script() {
    let example = format!("{}/examples/west-texas", env!("CARGO_MANIFEST_DIR"));
    let loaded = load(&args(&["--site", &example, "--hours", "2"])).unwrap();
    let kinds: Vec<_> = loaded.spec.objects.iter().map(|o| o.kind().into_owned()).collect();
    assert_eq!(&kinds[..4], ["MiningFleet", "MiningFleet", "GpuPool", "GpuPool"]);
    assert_eq!((loaded.site.as_str(), loaded.spec.script.len()), ("west-texas", 0));
    assert_eq!(
        (text(loaded.spec.start), text(loaded.until)),
        ("2024-07-01T00:00:00Z".into(), "2024-07-01T02:00:00Z".into())
    );
    assert_eq!((loaded.spec.prices, loaded.spec.folder), (None, PathBuf::from(example)));
}

#[test]
fn a_wrong_manifest_is_named_by_file_line_and_column() {
    let bad = "apiVersion: ampacity.dev/v1alpha1\nkind: PowerBudget\nmetadata: {name: small}\nspec:\n  limitWatts: 70m\n  policy: {mode: Active}\n";
    let folder =
        Folder::new("manifest", &[("bad.yaml", bad), ("kind.yaml", &BUDGET.replace("PowerBudget", "Deployment"))]);
    let file = folder.path("bad.yaml");
    let said = error(&["--site", &file]);
    assert!(said.starts_with(&format!("{file}:5:")) && said.contains("spec.limitWatts"), "{said}");
    let kind = folder.path("kind.yaml");
    let said = error(&["--site", &kind]);
    assert!(said.starts_with(&format!("{kind}:2:")) && said.contains("\"Deployment\": supported values: "), "{said}");
}

#[test]
fn two_budgets_none_and_files_that_are_not_there_are_refused() {
    let second = format!("---\n{}", BUDGET.replace("small", "other"));
    let folder = Folder::new("budgets", &[("a.yaml", BUDGET), ("b.yaml", &second), ("c.yaml", "---\n")]);
    let said = error(&["--site", &folder.0.display().to_string()]);
    let (a, b) = (folder.path("a.yaml"), folder.path("b.yaml"));
    assert_eq!(said, format!("{b}:3:1: kind: a second PowerBudget; one run is one site, and {a} (small) has one"));
    let none = folder.path("c.yaml");
    assert_eq!(error(&["--site", &none]), format!("{none}: has no PowerBudget, which is what makes a site"));
    let gone = folder.path("gone.yaml");
    assert!(error(&["--site", &gone]).starts_with(&format!("{gone}: cannot be read: No such file")));
}

#[test]
fn a_budgets_own_price_file_is_read_before_anything_runs() {
    let budget = BUDGET.to_owned() + "  energyPrice: {source: {file: {path: prices.csv}}}\n";
    let folder = Folder::new("own", &[("site.yaml", &budget), ("prices.csv", "time,usd\n2024-07-01T00:00Z,ten\n")]);
    let said = error(&["--site", &folder.path("site.yaml")]);
    assert!(said.contains("prices.csv: line 2 has no number after column \"time\": \"ten\""), "{said}");
    let with = Folder::new("own-other", &[("prices.csv", PRICES)]);
    load(&args(&["--site", &folder.path("site.yaml"), "--prices", &with.path("prices.csv")])).unwrap();
}

#[test]
fn a_run_begins_with_its_prices_and_does_not_pass_their_end() {
    let folder = Folder::new("prices", &[("p.csv", PRICES)]);
    let file = folder.path("p.csv");
    let loaded = load(&args(&["--prices", &file])).unwrap();
    assert_eq!(
        (text(loaded.spec.start), text(loaded.until)),
        ("2024-07-01T00:00:00Z".into(), "2024-07-02T00:00:00Z".into())
    );
    let rest =
        load(&args(&["--prices", &format!("{file}:usd"), "--from", "06:00", "--to", "2024-07-02T06:00"])).unwrap();
    assert_eq!(
        (text(rest.spec.start), text(rest.until)),
        ("2024-07-01T06:00:00Z".into(), "2024-07-02T06:00:00Z".into())
    );
    let beyond = error(&["--prices", &file, "--hours", "48"]);
    let want = format!(
        "{file}: has values from 2024-07-01T00:00:00Z to 2024-07-02T12:00:00Z, not for all of \
         2024-07-01T00:00:00Z to 2024-07-03T00:00:00Z: choose --from and --to within"
    );
    assert_eq!(beyond, want);
    let column = error(&["--prices", &format!("{file}:eur")]);
    assert_eq!(column, format!("{file}: has no column \"eur\"; its columns are time, usd"));
}

#[test]
fn a_span_that_is_none_is_refused() {
    let after = error(&["--from", "2024-07-02", "--to", "2024-07-01"]);
    assert_eq!(after, "--to 2024-07-01: is not after --from, 2024-07-02T00:00:00Z");
    let want = "--from noon: want a time such as 2024-07-01, 2024-07-01T12:00, 2024-07-01T12:00-05:00 or 12:00";
    assert_eq!(error(&["--from", "noon"]), want);
    assert!(Cli::try_parse_from(["demo", "--to", "2024-07-01", "--hours", "3"]).is_err());
}

#[test]
fn hashprice_is_found_behind_other_numbers() {
    let text = "date,price_usd,hashprice_usd_per_ph_day\n2024-07-01,60000,51.5\n2024-07-02,61000,52.5\n";
    let folder = Folder::new("hashprice", &[("h.csv", text), ("p.csv", PRICES)]);
    let loaded = load(&args(&["--prices", &folder.path("p.csv"), "--hashprice", &folder.path("h.csv")])).unwrap();
    let point = loaded.spec.hashprice.unwrap().at(loaded.spec.start).unwrap();
    assert_eq!(point.value, 51_500_000);
}
