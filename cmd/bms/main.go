// Command bms is a node of BMS Realtime and the tools around it: see
// `bms help`, and ARCHITECTURE.md for how it works.
//
// This package holds what knows everything: flags, wiring, signals and exit
// codes. main is flags and exit code; [App] is the node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // one line on stderr says why
	exitUsage  = 2 // a flag, variable or configuration key, named on stderr
)

// runFunc runs a command on the flags it was made with.
type runFunc func(ctx context.Context, stdout, stderr io.Writer) error

// command is one of `bms <name>`. make gives its flags and what runs on them;
// the flags are also asked for by the other commands, since a configuration
// file and an environment serve them all.
type command struct {
	name, synopsis string
	make           func() (*flagSet, runFunc)
}

// commands lists the commands as help shows them.
func commands() []command {
	return []command{
		{"serve", "run a node", serveCommand},
		{"token", "print a signed token", tokenCommand},
		{"log", "print events, one JSON envelope per line", logCommand},
		{"rebuild", "rebuild projections beside the live ones, or verify them", rebuildCommand},
		{"verify", "check log and read models against all the rules there are", verifyCommand},
		{"backup", "write the log to a file, also while a node serves from it", backupCommand},
		{"restore", "make a data folder of a backup", restoreCommand},
		{"ops", "print alert rules for Prometheus or a dashboard for Grafana", opsCommand},
		{"bench", "put a node under load, measure it, check that it keeps its promises", benchCommand},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	os.Exit(code)
}

// run does what the arguments say and returns the exit code. A failure is one
// line on stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printHelp(stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		printHelp(stdout)
		return exitOK
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		fs, runCommand := c.make()
		err := fs.parse(args[1:])
		if errors.Is(err, flag.ErrHelp) {
			fs.printUsage(stdout, c.synopsis)
			return exitOK
		}
		if err == nil {
			err = runCommand(ctx, stdout, stderr)
		}
		if err == nil {
			return exitOK
		}
		fmt.Fprintf(stderr, "bms %s: %s\n", c.name, strings.ReplaceAll(err.Error(), "\n", "; "))
		if _, ok := errors.AsType[*usageError](err); ok {
			return exitUsage
		}
		return exitFailed
	}
	fmt.Fprintf(stderr, "bms: unknown command %q, see bms help\n", args[0])
	return exitUsage
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "BMS Realtime: stock, sales and staff of shops, pushed to their screens as it happens.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  bms %-7s %s\n", c.name, c.synopsis)
	}
	fmt.Fprint(w, `  bms help    print this; "bms COMMAND -h" lists the command's flags

Every flag has an environment twin, BMS_ and the flag's name in capitals
(--jwt-secret: BMS_JWT_SECRET, or BMS_JWT_SECRET_FILE with the name of a file),
and may stand in the YAML file that --config names. The flag beats the
environment, the environment beats the file.

Exit codes: 0 done, or stopped by SIGTERM; 1 failed, one line says why;
2 a flag, variable or key is wrong, the line names it.
`)
}
