//! Command-line options for methods: `--method`, and one for each entry of the methods' option tables.

use clap::{Arg, ArgMatches, Command, FromArgMatches};
use inctrl::methods::{Opt, OptKind, all_options};
use inctrl::{BankSpec, Fit};

/// A method and its options, as far as they were given.
pub struct MethodArgs {
    method: Option<String>,
    /// `name=value`.
    options: Vec<String>,
}

impl MethodArgs {
    /// A bank for this method.
    pub fn spec(&self, class: Option<&str>, fit: Option<Fit>) -> BankSpec {
        let mut spec = BankSpec::default();
        spec.method = self.method.clone();
        spec.class = class.map(str::to_owned);
        spec.fit = fit;
        spec.options = self.options.clone();
        spec
    }
}

/// Every option once, with the methods that have it.
fn table() -> Vec<(&'static Opt, Vec<&'static str>)> {
    let mut table: Vec<(&'static Opt, Vec<&'static str>)> = Vec::new();
    for (method, options) in all_options() {
        for option in options {
            match table.iter_mut().find(|(known, _)| known.name == option.name) {
                Some((_, methods)) => methods.push(method),
                None => table.push((option, vec![method])),
            }
        }
    }
    table
}

/// The help of an option: its methods, what it does, and its default.
fn help(option: &Opt, methods: &[&str]) -> String {
    let default = match option.kind {
        OptKind::Count { default, .. } => default.to_string(),
        OptKind::Switch { default } => if default { "on" } else { "off" }.to_owned(),
        _ => String::new(),
    };
    format!("For {}: {} [default: {default}]", methods.join(" and "), option.help)
}

fn value_name(option: &Opt) -> &'static str {
    match option.kind {
        OptKind::Switch { .. } => "on|off",
        _ => "N",
    }
}

impl clap::Args for MethodArgs {
    fn augment_args(command: Command) -> Command {
        let names: Vec<&str> = all_options().map(|(method, _)| method).collect();
        let help_of_method =
            format!("The method: {} [default: {}, if the model can serve it]", names.join(" or "), names[0]);
        let method = Arg::new("method").long("method").value_name("NAME").help(help_of_method);
        let options = table().into_iter().map(|(option, methods)| {
            Arg::new(option.name).long(option.name).value_name(value_name(option)).help(help(option, &methods))
        });
        command.arg(method).args(options)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MethodArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |name: &str| matches.get_one::<String>(name).cloned();
        let given =
            table().into_iter().filter_map(|(option, _)| Some(format!("{}={}", option.name, value(option.name)?)));
        Ok(MethodArgs { method: value("method"), options: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
