//! Writes the manual pages of the command into a folder: `layerwise.1`, and one for each subcommand.
//!
//! They say what `--help` says, as they are made of the same definition.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::{env, io};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use layerwise::commands::args::Cli;
use roff::{Roff, roman};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args();
    let (Some(folder), Some(date)) = (arguments.nth(1).map(PathBuf::from), arguments.next()) else {
        return Err("usage: layerwise-manual FOLDER DATE".into());
    };
    fs::create_dir_all(&folder)?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let commands: Vec<Command> = program.get_subcommands().cloned().collect();
    let names: Vec<String> = commands.iter().map(name_of).collect();
    write_page(&folder, &date, program, &names)?;
    for command in commands {
        write_page(&folder, &date, command, &["layerwise".to_owned()])?;
    }
    Ok(())
}

/// The name of a command's page: `layerwise-extract`.
fn name_of(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn write_page(folder: &Path, date: &str, mut command: Command, see_also: &[String]) -> io::Result<()> {
    let name = name_of(&command);
    // `layerwise extract [OPTIONS] [TEXT]...`: all the options by name, as clap_mangen would have it, are half a screen.
    let usage = command.render_usage().to_string();
    let below = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let command = command.override_usage(usage.trim_start_matches("Usage: ").to_owned());
    let has_commands = command.has_subcommands();
    let page = Man::new(command)
        .title(&name)
        .date(date)
        .source(concat!("layerwise ", env!("CARGO_PKG_VERSION")))
        .manual("Embeddings from every encoder layer");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    if has_commands {
        page.render_subcommands_section(&mut text)?;
    }
    page.render_options_section(&mut text)?;
    sections(&below).to_writer(&mut text)?;
    let pages = see_also.iter().map(|name| format!("{name}(1)")).collect::<Vec<_>>().join(", ");
    Roff::new().control("SH", ["SEE ALSO"]).text([roman(pages)]).to_writer(&mut text)?;
    fs::write(folder.join(format!("{name}.1")), text)
}

/// What stands below the options in `--help`, its lines as they are: after a title (`Examples:`) a section of that name, what
/// comes before the first title in a section of notes.
fn sections(below: &str) -> Roff {
    let mut sections: Vec<(&str, Vec<&str>)> = vec![("Notes", Vec::new())];
    for line in below.lines() {
        match line.strip_suffix(':').filter(|_| ["Examples:", "Environment:", "Exit codes:"].contains(&line)) {
            Some(title) => sections.push((title, Vec::new())),
            None => sections.last_mut().into_iter().for_each(|(_, lines)| lines.push(line)),
        }
    }
    let mut page = Roff::new();
    for (title, lines) in sections {
        let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        if end == 0 {
            continue;
        }
        page.control("SH", [title.to_uppercase().as_str()]).control("nf", []);
        for line in &lines[..end] {
            page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        page.control("fi", []);
    }
    page
}
