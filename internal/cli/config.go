package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/oei-ms/oei-ms/configs"
)

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
