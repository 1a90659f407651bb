// Package cli is the command line: it reads settings and arguments, calls internal/app and store,
// and prints results. It leaves signals and exit codes to main.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/internal/app"
	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/store"
)

// program is what the commands share.
type program struct {
	out, errOut io.Writer // for results and for the log
	flags       *pflag.FlagSet
}

// Command returns the whole program, which writes results to out and its log to errOut.
func Command(out, errOut io.Writer) *cobra.Command {
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
		p.apiKeyCommand(), p.configCommand(), p.versionCommand())
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

// withDatabase calls f with the address of the database: that of the settings, else that of the
// private cluster, which it starts for the time of f unless a running server has it.
func (p *program) withDatabase(
	ctx context.Context, f func(cfg *configs.Config, dsn string, log *slog.Logger) error,
) (err error) {
	cfg, log, err := p.load()
	if err != nil {
		return err
	}
	if cfg.PrivateDatabase() {
		if dsn := postgres.RunningDSN(cfg.Cluster.DataDir); dsn != "" {
			return f(cfg, dsn, log)
		}
		if err := refuseBesideDemo(cfg); err != nil {
			return err
		}
	}
	dsn, stop, err := app.OpenDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return f(cfg, dsn, log)
}

// refuseBesideDemo refuses to make a new cluster for a command that is probably meant for the
// demo's.
func refuseBesideDemo(cfg *configs.Config) error {
	demo := demoDataDir(cfg.DataDir)
	exists := func(cluster string) bool {
		_, err := os.Lstat(filepath.Join(cluster, "pgdata"))
		return err == nil
	}
	if exists(cfg.Cluster.DataDir) || !exists(filepath.Join(demo, "postgres")) {
		return nil
	}
	return fmt.Errorf("there is no database in %s; for that of the demo use DATA_DIR=%s",
		cfg.DataDir, demo)
}

// withStore is withDatabase for a command that needs the store, with its schema up to date.
func (p *program) withStore(
	f func(*cobra.Command, []string, *store.Store) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return p.withDatabase(ctx, func(cfg *configs.Config, dsn string, log *slog.Logger) error {
			if err := app.Migrate(ctx, dsn, log); err != nil {
				return err
			}
			st, err := store.Open(ctx, dsn, cfg.Store, log)
			if err != nil {
				return err
			}
			return errors.Join(f(cmd, args, st), st.Close())
		})
	}
}

// help is what a command does that has only subcommands: with NoArgs a mistyped one is an error.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }
