package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/oei-ms/oei-ms/server"
)

// version is set by the linker in a release.
var version = "0.1.0-dev"

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := build()
			if v.Commit != "" {
				v.Version += " at " + v.Commit
			}
			_, err := fmt.Fprintf(p.out, "oei-ms %s, %s\n", v.Version, v.Go)
			return err
		},
	}
}

// build describes this program; its commit is empty when it was not built from a checkout.
func build() server.Version {
	v := server.Version{Version: version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}
