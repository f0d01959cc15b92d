"""The whole Customer API as one table: method, path, what answers it."""

from . import routes_bugs as bugs
from . import routes_more as more
from . import routes_products as products
from . import routes_tests as tests
from .call import Handler

_STORIES = "/products/{pid:int}/user_stories"
_ENVIRONMENTS = "/products/{pid:int}/test_environments"

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/products", products.list_products),
    ("POST", "/products", products.create_product),
    ("GET", "/products/{pid:int}", products.get_product),
    ("PUT", "/products/{pid:int}", products.update_product),
    ("DELETE", "/products/{pid:int}", products.delete_product),
    ("GET", "/products/{pid:int}/features", products.list_features),
    ("GET", "/products/{pid:int}/sections/{sid:int}/features", products.list_section_features),
    ("PUT", "/products/{pid:int}/features/copy", products.copy_features),
    ("POST", "/features", products.create_feature),
    ("GET", "/user_stories/{usid:int}", products.get_story),
    ("GET", _STORIES, products.list_stories),
    ("POST", _STORIES, products.create_story),
    ("PUT", _STORIES + "/{usid:int}", products.update_story),
    ("DELETE", _STORIES + "/{usid:int}", products.delete_story),
    ("GET", "/user_story_version_executions", tests.list_executions),
    ("GET", "/products/{pid:int}/exploratory_tests", tests.list_tests),
    ("POST", "/products/{pid:int}/exploratory_tests", tests.create_test),
    ("GET", "/exploratory_tests/{tid:int}", tests.get_test),
    ("PUT", "/exploratory_tests/{tid:int}", tests.update_test),
    ("POST", "/exploratory_tests/{tid:int}/launch", tests.launch_test),
    ("POST", "/exploratory_tests/{tid:int}/duplicate", tests.duplicate_test),
    ("POST", "/exploratory_tests/{tid:int}/templates", tests.create_template),
    ("GET", "/bugs", bugs.list_bugs),
    ("POST", "/bugs", bugs.search_bugs),
    # Test IO's own Java client posts its search here.
    ("POST", "/bugs/search", bugs.search_bugs),
    ("GET", "/bugs/reject_reasons", bugs.list_reject_reasons),
    ("GET", "/bugs/{bid:int}", bugs.get_bug),
    ("PUT", "/bugs/{bid:int}/accept", bugs.accept_bug),
    ("PUT", "/bugs/{bid:int}/reject", bugs.reject_bug),
    ("PUT", "/bugs/{bid:int}/mark_as_exported", bugs.mark_exported),
    ("PUT", "/bugs/{bid:int}/mark_as_known", bugs.mark_known),
    ("PUT", "/bugs/{bid:int}/mark_as_fixed", bugs.mark_fixed),
    ("POST", "/bug_report_confirmations", bugs.create_confirmation),
    ("GET", _ENVIRONMENTS, products.list_environments),
    ("POST", _ENVIRONMENTS, products.create_environment),
    ("GET", _ENVIRONMENTS + "/{eid:int}", products.get_environment),
    ("PUT", _ENVIRONMENTS + "/{eid:int}", products.update_environment),
    ("DELETE", _ENVIRONMENTS + "/{eid:int}", products.delete_environment),
    ("GET", "/test_templates", products.list_templates),
    ("POST", "/products/{pid:int}/test_cases", more.create_test_cases),
    ("POST", "/products/{pid:int}/test_case_test", more.create_test_case_test),
    ("GET", "/products/{pid:int}/test_case_tests/{tid:int}", more.get_test_case_test),
    ("GET", "/products/{pid:int}/test_case_tests/{tid:int}/results", more.list_results),
    ("POST", "/connections", more.create_connection),
    ("GET", "/connections/{cid:int}", more.get_connection),
    ("PUT", "/connections/{cid:int}", more.update_connection),
    ("DELETE", "/connections/{cid:int}", more.delete_connection),
    ("POST", "/binary_apps", more.create_binary_app),
    ("GET", "/binary_apps/upload_url", more.upload_url),
    ("PUT", "/binary_apps/{aid:int}", more.finalize_binary_app),
)
