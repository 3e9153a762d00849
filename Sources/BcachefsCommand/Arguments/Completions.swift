// SPDX-License-Identifier: GPL-2.0
// Completion scripts from the commands' own descriptions, so that no option is forgotten.

enum Completions {
  /// First words of all commands.
  private static func firstWords(_ specs: [CommandSpec]) -> [String] {
    var words: [String] = []
    for spec in specs {
      let word = String(spec.name.split(separator: " ")[0])
      if !words.contains(word) { words.append(word) }
    }
    return words + ["help"]
  }

  /// Second words after `word`.
  private static func secondWords(_ specs: [CommandSpec], after word: String) -> [String] {
    let prefix = "\(word) "
    return specs.map(\.name).filter { $0.hasPrefix(prefix) }.map { name in
      String(name.dropFirst(prefix.count))
    }
  }

  /// `--name=` where a value follows.
  private static func word(_ option: OptionSpec) -> String {
    if case .required = option.value { return "--\(option.name)=" }
    return "--\(option.name)"
  }

  private static func quoted(_ text: String) -> String {
    "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
      + "'"
  }

  // MARK: - bash

  static func bash(_ specs: [CommandSpec]) -> String {
    var out = """
      # bash completion for bcachefs
      _bcachefs() {
        local cur words_before command
        COMPREPLY=()
        cur=${COMP_LINE:0:COMP_POINT}
        cur=${cur##* }
        command="${COMP_WORDS[1]}"
        if [ "$COMP_CWORD" -eq 1 ]; then
          COMPREPLY=($(compgen -W "\(firstWords(specs).joined(separator: " "))" -- "$cur"))
          return
        fi
        case "$command" in

      """
    for first in firstWords(specs) {
      let second = secondWords(specs, after: first)
      guard !second.isEmpty else { continue }
      out += "    \(first))\n      if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
      out += "        COMPREPLY=($(compgen -W \"\(second.joined(separator: " "))\" -- \"$cur\"))\n"
      out += "        return\n      fi\n      command=\"$command ${COMP_WORDS[2]}\" ;;\n"
    }
    out += "  esac\n  local options= value=${cur#*=}\n  case \"$command\" in\n"
    for spec in specs {
      out += "    \(quoted(spec.name)))\n"
      let choosing = spec.options.filter { !$0.choices.isEmpty }
      if !choosing.isEmpty {
        out += "      case \"$cur\" in\n"
        for option in choosing {
          out +=
            "        --\(option.name)=*) options=\(quoted(option.choices.joined(separator: " ")))"
          out += " ;;\n"
        }
        out += "      esac\n"
      }
      let words = spec.options.map(word) + (spec.operandChoices ?? [])
      out += "      [ -n \"$options\" ] || case \"$cur\" in\n"
      out += "        --*=*) ;;\n"
      out += "        *) options=\(quoted(words.joined(separator: " "))); value=$cur ;;\n"
      out += "      esac ;;\n"
    }
    out += """
        esac
        case "$cur" in
          -*) COMPREPLY=($(compgen -W "$options" -- "$value")) ;;
          *) COMPREPLY=($(compgen -W "$options" -- "$cur") $(compgen -f -- "$cur")) ;;
        esac
        case "$cur" in --*=*) [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$value")) ;; esac
        case "${COMPREPLY[*]}" in *=) compopt -o nospace 2>/dev/null ;; esac
      }
      complete -o filenames -F _bcachefs bcachefs

      """
    return out
  }

  // MARK: - zsh

  static func zsh(_ specs: [CommandSpec]) -> String {
    var out = "#compdef bcachefs\n_bcachefs() {\n  local -a commands\n"
    out += "  if (( CURRENT == 2 )); then\n    commands=(\n"
    for first in firstWords(specs) {
      let text = specs.first { $0.name == first }?.summary ?? ""
      out += "      \(quoted("\(first):\(text)"))\n"
    }
    out += "    )\n    _describe command commands\n    return\n  fi\n"
    out += "  local command=$words[2]\n"
    for first in firstWords(specs) {
      let second = secondWords(specs, after: first)
      guard !second.isEmpty else { continue }
      out += "  if [[ $command == \(first) ]]; then\n"
      out +=
        "    if (( CURRENT == 3 )); then compadd \(second.joined(separator: " ")); return; fi\n"
      out += "    command=\"$command $words[3]\"\n    shift words; (( CURRENT-- ))\n  fi\n"
    }
    out += "  shift words; (( CURRENT-- ))\n  case $command in\n"
    for spec in specs {
      out += "    \(quoted(spec.name)))\n      _arguments"
      for option in spec.options { out += " \\\n        \(quoted(zshOption(option)))" }
      let operand =
        spec.operandChoices.map { "*: :(\($0.joined(separator: " ")))" } ?? "*:file:_files"
      out += " \\\n        \(quoted(operand)) ;;\n"
    }
    return out + "  esac\n}\n(( $+functions[compdef] )) && compdef _bcachefs bcachefs\n"
  }

  private static func zshOption(_ option: OptionSpec) -> String {
    let help = option.help.filter { !"[]:".contains($0) }
    guard case .required(let hint) = option.value else { return "--\(option.name)[\(help)]" }
    var action = " "
    if option.isPath { action = "_files" }
    if !option.choices.isEmpty { action = "(\(option.choices.joined(separator: " ")))" }
    let label = option.choices.isEmpty ? hint : "value"
    return "*--\(option.name)=[\(help)]:\(label):\(action)"
  }

  // MARK: - fish

  static func fish(_ specs: [CommandSpec]) -> String {
    var out = "# fish completion for bcachefs\n"
    out += "set -l firsts \(firstWords(specs).joined(separator: " "))\n"
    for first in firstWords(specs) {
      let text = specs.first { $0.name == first }?.summary ?? ""
      out += "complete -c bcachefs -f -n \"not __fish_seen_subcommand_from $firsts\" -a \(first) "
      out += "-d \(quoted(text))\n"
      let second = secondWords(specs, after: first)
      guard !second.isEmpty else { continue }
      let list = second.joined(separator: " ")
      out += "complete -c bcachefs -f -n \"__fish_seen_subcommand_from \(first); "
      out += "and not __fish_seen_subcommand_from \(list)\" -a \"\(list)\"\n"
    }
    for spec in specs {
      let last = spec.name.split(separator: " ").last ?? ""
      let condition = "-n \"__fish_seen_subcommand_from \(last)\""
      if let choices = spec.operandChoices {
        out += "complete -c bcachefs -f \(condition) -a \"\(choices.joined(separator: " "))\"\n"
      }
      for option in spec.options {
        out += "complete -c bcachefs \(condition) -l \(option.name) -d \(quoted(option.help))"
        if let short = option.short { out += " -s \(short)" }
        if case .required = option.value { out += option.isPath ? " -r -F" : " -x" }
        if !option.choices.isEmpty { out += " -a \"\(option.choices.joined(separator: " "))\"" }
        out += "\n"
      }
    }
    return out
  }
}
