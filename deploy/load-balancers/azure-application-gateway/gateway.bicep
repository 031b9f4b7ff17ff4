// Azure Application Gateway v2 in front of two instances of unbuffer, with one route for streams and one for the rest:
// az deployment group create --resource-group GROUP --template-file gateway.bicep --parameters subnetId=... identityId=... certificateSecretId=...

@description('A subnet that belongs to the gateway alone.')
param subnetId string

@description('A user-assigned identity that may read the certificate.')
param identityId string

@description('The certificate in a Key Vault, by the id of its secret.')
param certificateSecretId string

@description('The instances of unbuffer.')
param instances array = [
  '10.0.0.11'
  '10.0.0.12'
]

param location string = resourceGroup().location
param name string = 'unbuffer'

var gatewayId = resourceId('Microsoft.Network/applicationGateways', name)

resource address 'Microsoft.Network/publicIPAddresses@2024-05-01' = {
  name: '${name}-clients'
  location: location
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
    // Minutes without a packet after which Azure forgets a connection: 4 by default. Heartbeats are such packets.
    idleTimeoutInMinutes: 30
  }
}

resource gateway 'Microsoft.Network/applicationGateways@2024-05-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    sku: {
      name: 'Standard_v2'
      tier: 'Standard_v2'
    }
    autoscaleConfiguration: {
      minCapacity: 1
      maxCapacity: 10
    }
    enableHttp2: true
    // Both are on by default, and for the whole gateway: no route can differ.
    globalConfiguration: {
      enableResponseBuffering: false
      enableRequestBuffering: false
    }
    gatewayIPConfigurations: [
      {
        name: 'subnet'
        properties: {
          subnet: {
            id: subnetId
          }
        }
      }
    ]
    frontendIPConfigurations: [
      {
        name: 'clients'
        properties: {
          publicIPAddress: {
            id: address.id
          }
        }
      }
    ]
    frontendPorts: [
      {
        name: 'https'
        properties: {
          port: 443
        }
      }
    ]
    sslCertificates: [
      {
        name: 'site'
        properties: {
          keyVaultSecretId: certificateSecretId
        }
      }
    ]
    httpListeners: [
      {
        name: 'clients'
        properties: {
          protocol: 'Https'
          frontendIPConfiguration: {
            id: '${gatewayId}/frontendIPConfigurations/clients'
          }
          frontendPort: {
            id: '${gatewayId}/frontendPorts/https'
          }
          sslCertificate: {
            id: '${gatewayId}/sslCertificates/site'
          }
        }
      }
    ]
    backendAddressPools: [
      {
        name: 'unbuffer'
        properties: {
          backendAddresses: [for instance in instances: {
            ipAddress: instance
          }]
        }
      }
    ]
    probes: [
      {
        name: 'ready'
        properties: {
          protocol: 'Http'
          host: 'localhost'
          port: 4198
          path: '/readyz'
          interval: 5
          timeout: 2
          unhealthyThreshold: 2
          match: {
            statusCodes: [
              '200'
            ]
          }
        }
      }
    ]
    backendHttpSettingsCollection: [
      {
        name: 'streams'
        properties: {
          protocol: 'Http'
          port: 8080
          // The longest silence: 20 by default. unbuffer's heartbeat breaks it for event-streams.
          requestTimeout: 600
          // An instance that is taken out keeps its streams for so long: the longest stream, 3600 at the most.
          connectionDraining: {
            enabled: true
            drainTimeoutInSec: 3600
          }
          probe: {
            id: '${gatewayId}/probes/ready'
          }
        }
      }
      {
        name: 'rest'
        properties: {
          protocol: 'Http'
          port: 8080
          requestTimeout: 60
          connectionDraining: {
            enabled: true
            drainTimeoutInSec: 60
          }
          probe: {
            id: '${gatewayId}/probes/ready'
          }
        }
      }
    ]
    // As it comes X-Forwarded-For has the client's port after its address.
    rewriteRuleSets: [
      {
        name: 'forwarded'
        properties: {
          rewriteRules: [
            {
              name: 'address-only'
              ruleSequence: 100
              actionSet: {
                requestHeaderConfigurations: [
                  {
                    headerName: 'X-Forwarded-For'
                    headerValue: '{var_add_x_forwarded_for_proxy}'
                  }
                  {
                    headerName: 'X-Forwarded-Host'
                    headerValue: '{var_host}'
                  }
                ]
              }
            }
          ]
        }
      }
    ]
    urlPathMaps: [
      {
        name: 'routes'
        properties: {
          defaultBackendAddressPool: {
            id: '${gatewayId}/backendAddressPools/unbuffer'
          }
          defaultBackendHttpSettings: {
            id: '${gatewayId}/backendHttpSettingsCollection/rest'
          }
          defaultRewriteRuleSet: {
            id: '${gatewayId}/rewriteRuleSets/forwarded'
          }
          pathRules: [
            {
              name: 'streams'
              properties: {
                paths: [
                  '/stream/*'
                  '/ws/*'
                ]
                backendAddressPool: {
                  id: '${gatewayId}/backendAddressPools/unbuffer'
                }
                backendHttpSettings: {
                  id: '${gatewayId}/backendHttpSettingsCollection/streams'
                }
                rewriteRuleSet: {
                  id: '${gatewayId}/rewriteRuleSets/forwarded'
                }
              }
            }
          ]
        }
      }
    ]
    requestRoutingRules: [
      {
        name: 'clients'
        properties: {
          priority: 100
          ruleType: 'PathBasedRouting'
          httpListener: {
            id: '${gatewayId}/httpListeners/clients'
          }
          urlPathMap: {
            id: '${gatewayId}/urlPathMaps/routes'
          }
        }
      }
    ]
  }
}

output clients string = address.properties.ipAddress
