package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/store"
)

func (p *program) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema to this program's version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withDatabase(cmd.Context(),
				func(_ *configs.Config, dsn string, _ *slog.Logger) error {
					from, to, err := store.Migrate(cmd.Context(), dsn)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(p.out, "schema version %d (was %d)\n", to, from)
					return err
				})
		},
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "to VERSION",
			Short: "Take the schema up or down to a version; " +
				"down drops what later versions added, data included",
			Args: cobra.ExactArgs(1),
			RunE: p.withVersion(store.MigrateTo),
		},
		&cobra.Command{
			Use:   "force VERSION",
			Short: "Declare which version the schema has, after repairing it by hand",
			Args:  cobra.ExactArgs(1),
			RunE:  p.withVersion(store.ForceSchemaVersion),
		},
	)
	return cmd
}

// withVersion is withDatabase for a command whose argument is a version of the schema.
func (p *program) withVersion(
	f func(ctx context.Context, dsn string, version uint) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		v, err := strconv.ParseUint(args[0], 10, 31)
		if err != nil {
			return fmt.Errorf("version %q: use a whole number", args[0])
		}
		if err := store.CheckSchemaVersion(uint(v)); err != nil {
			return err
		}
		return p.withDatabase(cmd.Context(),
			func(_ *configs.Config, dsn string, _ *slog.Logger) error {
				return f(cmd.Context(), dsn, uint(v))
			})
	}
}
