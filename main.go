// Command oei-ms watches industrial equipment: it stores what gateways publish over MQTT, and
// serves and pushes it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oei-ms/oei-ms/configs"
)

// version is set by the linker in a release.
var version = "0.1.0-dev"

// stopTime is how long a stop may take; a database that hangs could hold it up for longer.
const stopTime = 9 * time.Second

// gcPercent keeps the heap smaller than Go does by itself, for a few per cent of processor time at
// full speed. GOGC overrides it.
const gcPercent = 58

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		time.AfterFunc(stopTime, func() {
			fmt.Fprintln(os.Stderr,
				"oei-ms: something does not end, so it is cut off; what was not committed was not acknowledged")
			os.Exit(1)
		})
	})
	if err := command(os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "oei-ms:", err)
		os.Exit(1)
	}
}

// program is what the commands share.
type program struct {
	out, errOut io.Writer // for results and for the log
	flags       *pflag.FlagSet
}

// command is the whole program, writing results to out and the log to errOut.
func command(out, errOut io.Writer) *cobra.Command {
	p := &program{out: out, errOut: errOut}
	root := &cobra.Command{
		Use:           "oei-ms",
		Short:         "Monitoring of industrial equipment",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(out)
	root.SetErr(errOut)
	p.flags = root.PersistentFlags()
	configs.AddFlags(p.flags)
	root.AddCommand(p.serveCommand(), p.migrateCommand(), p.simulateCommand(), p.userCommand(),
		p.configCommand(), p.versionCommand())
	return root
}

// load reads the settings and makes the log they ask for.
func (p *program) load() (*configs.Config, *slog.Logger, error) {
	cfg, err := configs.Load(configs.Options{Flags: p.flags})
	if err != nil {
		return nil, nil, err
	}
	return cfg, cfg.Logger(p.errOut), nil
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.out, "oei-ms %s%s, %s\n", version, prefixed(" at ", commit()),
				goVersion())
			return err
		},
	}
}

func (p *program) configCommand() *cobra.Command {
	config := &cobra.Command{
		Use:   "config",
		Short: "Look at the settings",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	config.AddCommand(&cobra.Command{
		Use:   "check",
		Short: "Check the settings and print them, secrets masked, with where each comes from",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := configs.Load(configs.Options{Flags: p.flags})
			err = errors.Join(err, cfg.ReadSecretKey())
			return errors.Join(cfg.Write(p.out), err)
		},
	})
	return config
}

// help is what a command does that has only subcommands: with NoArgs a mistyped one is an error.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// commit is the commit the program was built from, or "".
func commit() string {
	info, _ := debug.ReadBuildInfo() // nil outside of modules
	if info != nil {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}

func goVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.GoVersion
	}
	return ""
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
