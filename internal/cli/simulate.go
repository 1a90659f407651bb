package cli

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/oei-ms/oei-ms/internal/simulator"
)

func (p *program) simulateCommand() *cobra.Command {
	c := simulator.DefaultConfig()
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a simulated plant against a server",
		Long: "Registers gateways and sensors through the API and publishes believable readings " +
			"over MQTT v5 at QoS 1,\nuntil it is interrupted. " +
			"The password can also be set in OEI_PASSWORD.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Out = p.out
			if c.Password == "" {
				c.Password = os.Getenv("OEI_PASSWORD")
			}
			return simulator.Run(cmd.Context(), c, slog.New(slog.NewTextHandler(p.errOut, nil)))
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.API, "api", c.API, "address of the API")
	f.StringVar(&c.MQTT, "mqtt", c.MQTT, "address of the MQTT broker")
	f.StringVar(&c.Username, "username", "admin", "a user with the role engineer or admin")
	f.StringVar(&c.Password, "password", "", "that user's password")
	f.StringVar(&c.Prefix, "prefix", c.Prefix, "prefix of the gateways' keys")
	f.IntVar(&c.Gateways, "gateways", c.Gateways, "number of gateways")
	f.IntVar(&c.Sensors, "sensors", c.Sensors, "number of sensors of each gateway")
	f.DurationVar(&c.Interval, "interval", c.Interval, "time between two readings of a sensor")
	f.IntVar(&c.PerMessage, "per-message", c.PerMessage, "readings in a message")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "the same seed makes the same signals")
	return cmd
}
