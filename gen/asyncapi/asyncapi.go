// Package asyncapi embeds asyncapi.yaml together with the schemas of openapi.yaml that it refers
// to, as ./task gen bundles them. This file alone is written by hand.
package asyncapi

import _ "embed"

// YAML is the document.
//
//go:embed asyncapi.yaml
var YAML []byte
