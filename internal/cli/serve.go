package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/internal/app"
	"github.com/oei-ms/oei-ms/internal/broker"
)

func (p *program) serveCommand() *cobra.Command {
	var demo bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server; without settings with a PostgreSQL and an MQTT broker of its own",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := p.load()
			if err != nil {
				return err
			}
			if demo {
				return p.demo(cmd.Context(), cfg)
			}
			return app.Run(cmd.Context(), cfg, log, build(),
				func(_ context.Context, r app.Running) error {
					p.greet(cfg, r)
					return nil
				})
		},
	}
	cmd.Flags().BoolVar(&demo, "demo", false,
		"also run a simulated plant, in a data directory of its own")
	return cmd
}

// greet prints where the server listens and, once, how to log in.
func (p *program) greet(cfg *configs.Config, r app.Running) {
	fmt.Fprintf(p.out, "\n  API        %s/docs\n", localURL(r.API))
	p.greetMQTT(cfg, r.MQTT)
	if !cfg.OwnBroker() {
		fmt.Fprintf(p.out, "  MQTT v5    by the broker at %s\n",
			net.JoinHostPort(cfg.MQTT.Host, strconv.Itoa(cfg.MQTT.Port)))
	}
	if r.AdminPassword != "" {
		fmt.Fprintf(p.out, "  log in     %s / %s   "+
			"(shown this once; change it with `%[3]s user passwd %[1]s --data-dir %[4]s`)\n",
			cfg.Auth.AdminUsername, r.AdminPassword, os.Args[0], cfg.DataDir)
	}
	fmt.Fprintln(p.out)
}

// greetMQTT prints where gateways connect to this instance's broker.
func (p *program) greetMQTT(cfg *configs.Config, ls broker.Listeners) {
	ws := "ws://"
	if cfg.Broker.TLSCertificate != "" {
		ws = "wss://"
	}
	for _, l := range []struct {
		net.Listener
		prefix, suffix string
	}{{ls.Plain, "", ""}, {ls.TLS, "", " with TLS"}, {ls.WebSocket, ws, ""}} {
		if l.Listener != nil {
			fmt.Fprintf(p.out, "  MQTT v5    %s%s%s\n", l.prefix, local(l.Addr()), l.suffix)
		}
	}
}

// local returns the address as a program on this machine would use it.
func local(a net.Addr) string {
	host, port, _ := net.SplitHostPort(a.String()) // a listener's address always has both
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func localURL(a net.Addr) string { return "http://" + local(a) }
