// Package docs embeds the documentation, so that a server shows it at /docs/guide without internet.
package docs

import "embed"

// Pages are the Markdown files by their path in this folder. Their base names are unique.
//
//go:embed *.md operations/*.md
var Pages embed.FS
